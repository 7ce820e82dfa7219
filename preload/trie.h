// The trie of call paths: (path so far, next frame inwards) -> node id. It only grows, needs no lock, and its
// nodes are in the order of their making, so that the frames of one path are close together in memory.
//
// A node's first kSiblings children hang in a list that only grows at its head; once it is full, further
// children go into an open-addressed hash over all wide nodes. Who adds has seen the list whole
// (compare-and-swap on the head it scanned) or the hash up to an empty slot (compare-and-swap on that slot),
// and neither ever loses an entry, so a path gets one id however many threads meet it first at the same time.
#pragma once
#include "preload/table_view.h"

namespace unfreed::preload {

using NodeId = uint32_t;

void reset_trie(Table* table);

// A well-mixed hash of two words; weak mixing here once made other tools' tables degenerate.
inline uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = (a ^ (b * 0x9e3779b97f4a7c15ull)) * 0xd6e8feb86659fd93ull;
    return x ^ (x >> 32);
}

// The child of `caller` for this pc (contract/table.h: uf_node), made if there is none. 0: the table is full,
// counted.
NodeId child_of(Table* table, NodeId caller, uint64_t pc);

// The leaf of a call of `function` whose path is not known: made when the session started, so always there.
inline NodeId pathless_leaf(uf_function function) {
    return static_cast<NodeId>(function);
}

}
