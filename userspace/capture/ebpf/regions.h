// The mappings that one process asked for and still has, cut and moved as munmap and mremap cut and move
// them.
#pragma once
#include <cstdint>
#include <functional>
#include <map>

namespace unfreed::ebpf {

class Regions {
  public:
    struct Region {
        std::uint64_t end = 0;        // of its pages
        std::uint64_t asked_end = 0;  // where the bytes end that were asked for; at most `end`
        std::uint64_t stack = 0;
        std::uint32_t epoch = 0;
    };

    // The kernel mapped `bytes` at `begin`, in place of what was there. `counted`: the program asked for it.
    void map(std::uint64_t begin, std::uint64_t bytes, bool counted, std::uint64_t stack,
             std::uint32_t epoch);
    void unmap(std::uint64_t begin, std::uint64_t bytes);

    void for_each(const std::function<void(const Region&, std::uint64_t bytes)>& visit) const;

  private:
    std::map<std::uint64_t, Region> regions_;  // by first address; they do not overlap
};

}  // namespace unfreed::ebpf
