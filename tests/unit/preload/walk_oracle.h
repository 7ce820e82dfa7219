// Walks the calling thread's stack from here, frame by frame, with libunwind, with full_step() and, where
// there is one, with the frame's rule, and notes every difference.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "preload/full_walk.h"

namespace unfreed::preload {

struct WalkComparison {
    std::vector<uint64_t> pcs;  // of full_step(), from the caller of compare_walks() outwards
    Step end = Step::kStepped;  // how full_step() ended
    unsigned signal_frames = 0;
    unsigned by_rule = 0;  // frames that a rule expressed
    std::vector<std::string> differences;
};

// Call it where the stack has the shape to be tested; not to be inlined, so that its caller is a frame.
WalkComparison compare_walks();

// The registers of the calling function as a walk begins with them, and the pcs of full_step() and, for code
// without unwind information, frame_pointer_step().
std::vector<uint64_t> walk_with_frame_pointers();

}
