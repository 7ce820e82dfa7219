// One process's memory, told apart: every resident and swapped page belongs to exactly one part.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/part.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

struct Measured {
    pid_t pid = 0;
    std::string name;
    std::map<Part, Amount> parts;
    std::vector<std::string> notes;         // what else is known, or why something is not
    std::uint64_t kernel_rss_and_swap = 0;  // VmRSS + VmSwap, read right after
};

// Error: there is no such process, it may not be looked at, or it has no memory of its own.
Measured measure(pid_t pid);

// What a mapping as a whole is, by its name, its neighbours and the threads' stack pointers.
Part part_of(const Mapping& mapping, const Mapping* before, const std::vector<std::uint64_t>& stack_pointers);

// Adds the pages of `mapping`, some of which are `claims`' (sorted, apart); the rest is `whole`. `pages`: the
// states of its pages; empty: not known, then all of it is `whole`.
void add_pages(const Mapping& mapping, const Part& whole, const std::vector<Claim>& claims,
               const std::vector<PageState>& pages, std::map<Part, Amount>& parts);

}  // namespace unfreed::rss
