// PathTree: call paths interned as a tree of {caller, location}; equal paths are one node. It adds to a
// vector of nodes that is the caller's, and keeps beside it a hash of indices (four bytes a slot, half full
// at most).
#pragma once
#include <cstdint>
#include <vector>

#include "userspace/report/profile.h"

namespace unfreed {

class PathTree {
  public:
    // `nodes` outlives the tree, holds the root, and is changed by nobody else.
    explicit PathTree(std::vector<Profile::Node>& nodes) : nodes_(nodes) { grow(); }

    std::uint32_t child(std::uint32_t caller, std::uint32_t location) {
        std::size_t slot = slot_of(caller, location);
        for (; slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
            const Profile::Node& node = nodes_[slots_[slot]];
            if (node.caller == caller && node.location == location) {
                return slots_[slot];
            }
        }
        const auto index = static_cast<std::uint32_t>(nodes_.size());
        nodes_.push_back({caller, location});
        slots_[slot] = index;
        if (nodes_.size() * 2 > slots_.size()) {
            grow();
        }
        return index;
    }

  private:
    std::size_t slot_of(std::uint32_t caller, std::uint32_t location) const {
        std::uint64_t hash = (std::uint64_t{caller} << 32 | location) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
        return hash & (slots_.size() - 1);
    }
    void grow() {
        std::size_t size = 1024;
        while (size < nodes_.size() * 3) {
            size *= 2;
        }
        slots_.assign(size, 0);
        for (std::uint32_t i = 1; i < nodes_.size(); ++i) {
            std::size_t slot = slot_of(nodes_[i].caller, nodes_[i].location);
            while (slots_[slot] != 0) {
                slot = (slot + 1) & (size - 1);
            }
            slots_[slot] = i;
        }
    }

    std::vector<Profile::Node>& nodes_;
    std::vector<std::uint32_t> slots_;  // 0: free (the root is nobody's child)
};

}  // namespace unfreed
