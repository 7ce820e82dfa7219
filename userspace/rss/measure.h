// One process's memory, told apart: every resident and swapped page belongs to exactly one part.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/rss/glibc_malloc.h"
#include "userspace/rss/live_process.h"
#include "userspace/rss/part.h"
#include "userspace/rss/smaps.h"
#include "userspace/rss/split.h"

namespace unfreed::rss {

struct Measured {
    pid_t pid = 0;
    std::string name;
    std::map<Part, Amount> parts;
    std::vector<std::string> notes;         // what else is known, or why something is not
    std::uint64_t kernel_rss_and_swap = 0;  // VmRSS + VmSwap, read right after
};

// One look at a living process, taken when it is made; what was traced in it is told afterwards.
class Measurement {
  public:
    // Error: there is no such process, it may not be looked at, or it has no memory of its own (any more).
    explicit Measurement(pid_t pid);

    // Error: the process has ended, so that what was told last may have found no pages.
    void check_it_is_there() const;

    // A live block, `weight` of its kind (sampling), of a domain. Where the allocator is glibc's, what it
    // takes beside the bytes that were asked for is told apart.
    void add_block(std::uint64_t address, std::uint64_t bytes, double weight, std::size_t domain);

    // Of a mapping that the program made: what is no other part's is call path `number`'s.
    void add_mapping(std::uint64_t start, std::uint64_t bytes, unsigned number);

    // `domains`: their names.
    Measured finish(const std::vector<std::string>& domains);

  private:
    struct Blocks {
        std::vector<Split::Bytes> asked;  // by domain
        Split::Bytes beside;
    };

    void take_out_free(const GlibcMalloc& malloc);
    void add_area(const Mapping& mapping, const Part& whole, const std::vector<Claim>& claims);

    LiveProcess process_;
    std::vector<Mapping> mappings_;
    std::vector<Claim> areas_;
    std::optional<Split> split_;
    Measured measured_;
    std::vector<Blocks> blocks_;  // by area; empty: nothing was traced
};

// Without any tracing. Errors as above.
Measured measure(pid_t pid);

// What a mapping as a whole is, by its name, its neighbours and the threads' stack pointers.
Part part_of(const Mapping& mapping, const Mapping* before, const std::vector<std::uint64_t>& stack_pointers);

// Adds the pages of `mapping`, some of which are `claims`' (sorted, apart); the rest is `whole`. `pages`: the
// states of its pages; empty: not known, then all of it is `whole`.
void add_pages(const Mapping& mapping, const Part& whole, const std::vector<Claim>& claims,
               const std::vector<PageState>& pages, std::map<Part, Amount>& parts);

}  // namespace unfreed::rss
