// BlockGroups: live blocks, added up by (stack, age bucket). Millions of blocks become as many groups as
// there are call paths with something outstanding.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "preload/contract/table.h"
#include "userspace/capture/preload/dense_index.h"

namespace unfreed {

struct BlockGroup {
    std::uint32_t stack : UF_STACK_BITS = 0;
    std::uint32_t age_bucket : 7 = 0;  // index into kAgeBuckets
    std::uint32_t mapping : 1 = 0;     // of the table's regions, not of its blocks
    std::uint64_t objects = 0;  // in 1/UF_OBJECT_UNIT when sampled. Unsigned: a scribbled table's sums wrap
    std::uint64_t bytes = 0;
    double variance = 0;  // of bytes, in bytes²: they are an estimate when sampled
};

class BlockGroups {
  public:
    void add(std::uint32_t stack, std::uint32_t age_bucket, bool mapping, std::uint64_t objects,
             std::uint64_t bytes, double variance = 0) {
        const std::uint64_t key =
            stack | std::uint64_t{age_bucket} << UF_STACK_BITS | std::uint64_t{mapping} << 31;
        if (key != last_key_) {
            const auto next = static_cast<std::uint32_t>(groups_.size());
            last_ = index_.find_or_add(mix_bits(key), next, [&](std::uint32_t position) {
                const BlockGroup& group = groups_[position];
                return group.stack == stack && group.age_bucket == age_bucket && group.mapping == mapping;
            });
            last_key_ = key;
            if (last_ == next) groups_.push_back({stack, age_bucket, mapping});
        }
        groups_[last_].objects += objects;
        groups_[last_].bytes += bytes;
        groups_[last_].variance += variance;
    }

    std::vector<BlockGroup> take() { return std::move(groups_); }

  private:
    std::vector<BlockGroup> groups_;
    DenseIndex index_;
    std::uint64_t last_key_ = ~0ull;  // neighbours in memory often come from one call path
    std::uint32_t last_ = 0;
};

}  // namespace unfreed
