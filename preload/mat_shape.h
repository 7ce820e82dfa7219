// Which cv::Mat a recorded block serves: told by nodes inside of its leaf (contract/table.h), so that it
// costs a block without one nothing, and blocks of other shapes are other stacks.
#pragma once
#include "preload/live.h"
#include "preload/trie.h"

namespace unfreed::preload {

struct MatShape {
    uint32_t type;  // OpenCV's: depth and channels
    uint32_t dimensions;
    const int* extents;  // elements of each, the outermost first
};

// The block's stack before and after it got its shape; the same: nothing is to be said of it.
struct Reshaped {
    NodeId before, after;
};

// The block at `address`, whose owner is the caller, serves a matrix of this shape. Only a block of just
// `bytes`, and one that was asked for inside of the call that returns to `return_address`: else it is another
// one (a matrix of the program's own memory).
Reshaped reshape_block(Table* table, uint64_t address, uint64_t bytes, const MatShape& shape,
                       uint64_t return_address);

}
