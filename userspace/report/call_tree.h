// CallTree: what the views show. The profile's call paths with inlined frames laid out and merged by name,
// from the outermost frame down, and the weight of each path and of each common beginning.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "userspace/report/profile.h"

namespace unfreed {

struct CallTree {
    enum class MergeBy : std::uint8_t { kFunction, kLine };  // frames that are the same to the reader

    struct Frame {
        StringIndex function = 0;
        StringIndex file = 0;  // 0 when merged by function or not known
        std::int64_t line = 0;
        StringIndex module = 0;  // file of the first mapping where it was seen; 0: none
    };
    // Index 0 is the root; a caller's index is below its node's own; `location` is an index into frames.
    std::vector<Profile::Node> nodes{Profile::Node{}};
    std::vector<Frame> frames;

    struct Weight {
        std::int64_t bytes = 0;
        std::int64_t objects = 0;
        double variance = 0;  // of bytes that are an estimate (sampling), in bytes²
    };
    std::vector<Weight> self;   // by node: of the paths that end there
    std::vector<Weight> total;  // by node: of the paths that go through it; of the root: everything

    // By node, of the paths that end there: the youngest and the oldest age that any of its weight has.
    struct Ages {
        std::int64_t youngest = Profile::kNoAge;
        std::int64_t oldest = Profile::kNoAge;
    };
    std::vector<Ages> ages;
    Value value{};  // which of the two the view is about, and of which family (alloc, inuse) both are

    std::int64_t pick(const Weight& weight) const {
        return value == Value::kAllocObjects || value == Value::kInuseObjects ? weight.objects : weight.bytes;
    }
    // Children of each node, largest total first: children[first_child[n] .. first_child[n + 1]).
    struct Children {
        std::vector<std::uint32_t> first;
        std::vector<std::uint32_t> nodes;
    };
    Children children() const;

    // Nodes with weight of their own, largest first (by absolute value, for differences).
    std::vector<std::uint32_t> heaviest_paths() const;
};

// The absolute value.
std::uint64_t magnitude(std::int64_t value);

// `growth_only`: paths whose value is negative (of a difference) count as nothing.
CallTree build_call_tree(const Profile& profile, Value value, CallTree::MergeBy merge_by,
                         bool growth_only = false);

}  // namespace unfreed
