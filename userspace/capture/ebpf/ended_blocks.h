// What processes had that have ended: their blocks, no longer in the kernel's table, which would fill up with
// them.
#pragma once
#include <cstdint>
#include <unordered_map>

#include "bpf/contract/capture.h"

namespace unfreed::ebpf {

class EndedBlocks {
  public:
    void add(const uf_block& block) { ++counts_[block]; }
    template <class Visit>
    void for_each(Visit visit) const {
        for (const auto& [block, count] : counts_) visit(block, count);
    }

  private:
    struct Hash {
        std::size_t operator()(const uf_block& block) const {
            const std::uint64_t rest = block.size << 40 ^ std::uint64_t{block.epoch} << 20 ^ block.points;
            return block.stack ^ rest * 0x9e3779b97f4a7c15ull;
        }
    };
    struct Same {
        bool operator()(const uf_block& a, const uf_block& b) const {
            return a.stack == b.stack && a.size == b.size && a.epoch == b.epoch && a.points == b.points;
        }
    };
    std::unordered_map<uf_block, std::uint64_t, Hash, Same> counts_;
};

}  // namespace unfreed::ebpf
