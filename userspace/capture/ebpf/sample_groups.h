// Adds live blocks, mappings and totals up into the samples of a Snapshot: one per (stack, age bucket).
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "bpf/contract/capture.h"
#include "userspace/capture/ebpf/call_paths.h"
#include "userspace/capture/ebpf/processes.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed::ebpf {

// What was ever allocated, by the kernel's id of the stack.
class Totals {
  public:
    struct Total {
        std::uint64_t objects = 0;
        std::uint64_t bytes = 0;
    };
    void add(std::uint64_t stack, std::uint64_t objects, std::uint64_t bytes) {
        Total& total = totals_[stack];
        total.objects += objects;
        total.bytes += bytes;
    }
    template <class Visit>
    void for_each(Visit visit) const {
        for (const auto& [stack, total] : totals_) visit(stack, total.objects, total.bytes);
    }

  private:
    std::unordered_map<std::uint64_t, Total> totals_;
};

class SampleGroups {
  public:
    SampleGroups(const Functions& functions, const CallPaths& paths, Processes& processes,
                 std::uint64_t sample_bytes, std::uint32_t now_seconds)
        : functions_(functions),
          paths_(paths),
          processes_(processes),
          sample_bytes_(sample_bytes),
          now_seconds_(now_seconds) {}

    void add_blocks(const uf_block& block, std::uint64_t count);  // that many like it
    void add_total(std::uint64_t stack, const uf_totals& totals);
    void add_region(const Regions::Region& region, std::uint32_t blocks, std::uint64_t bytes);
    void add_mapped(std::uint64_t stack, std::uint64_t objects, std::uint64_t bytes);
    void add_shape(std::uint64_t stack, const uf_shape& shape);

    // Samples, and how many allocations have stacks that do not reach the outermost frame.
    void write(Snapshot& into);

  private:
    struct Outstanding {
        double objects = 0;
        std::uint64_t bytes = 0;
        double variance = 0;  // of bytes, in bytes²: they are an estimate when sampled
    };
    struct Group {
        std::map<std::uint32_t, Outstanding> by_age;  // by age bucket
        std::uint64_t objects = 0;                    // ever
        std::uint64_t bytes = 0;
        std::string shape;  // of the matrices that its blocks are; empty: not known
    };
    std::uint32_t age_of(std::uint32_t epoch) const;
    CallPath path_of(std::uint64_t stack) const;

    const Functions& functions_;
    const CallPaths& paths_;
    Processes& processes_;
    const std::uint64_t sample_bytes_;
    const std::uint32_t now_seconds_;
    std::unordered_map<std::uint64_t, Group> groups_;
};

}  // namespace unfreed::ebpf
