// CallPaths: the trie of one table, taken over into a Snapshot. Only paths that are asked for are, with their
// frames made once each. The trie is untrusted: an index out of range or a circle leads to the root, and is
// counted.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "preload/contract/table.h"
#include "userspace/capture/preload/dense_index.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed {

class CallPaths {
  public:
    // `modules[i]`: where module i of the table is in the Snapshot, kNone when its record made no sense.
    CallPaths(std::vector<uf_node> nodes, std::vector<ModuleIndex> modules, Snapshot& into);

    // The Snapshot's node for a stack of the table; 0 when it makes no sense.
    NodeIndex take_over(std::uint32_t stack);

    // The leaf of a stack: itself, or the one that it says the shape of a block of.
    std::uint32_t leaf_of(std::uint32_t stack) const;

    // Index into Snapshot::shapes of what its blocks serve; 0: nothing is known of that.
    std::uint32_t shape_of(std::uint32_t stack);

    // The function that the program called there: an uf_function, UF_FUNCTION_NONE when `stack` is no leaf.
    std::uint32_t function_of(std::uint32_t stack) const;

    // How many indices made no sense.
    std::uint64_t broken() const { return broken_; }

  private:
    FrameIndex frame_of(std::uint64_t pc);

    std::vector<uf_node> nodes_;
    std::vector<ModuleIndex> modules_;
    Snapshot& into_;
    std::vector<NodeIndex> taken_;    // by node of the table: kNone, kOnTheWay, or the Snapshot's node
    std::vector<std::uint64_t> pcs_;  // of the frames that we added, in their order
    FrameIndex first_frame_;
    DenseIndex frames_;
    std::unordered_map<std::string, std::uint32_t> shapes_;
    std::vector<std::uint32_t> way_;
    std::uint64_t broken_ = 0;
};

}  // namespace unfreed
