// The parts that a process's memory is told apart into, in the order in which they are shown.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace unfreed::rss {

enum class Kind : std::uint8_t {
    kGoHeapInUse,
    kGoHeapIdle,  // pages that the runtime keeps for later
    kGoHeap,      // in use or idle: not known
    kGoStacks,
    kGoStacksAndWork,  // and what the garbage collector works with: not told apart
    kGoMetadata,
    kTraced,          // blocks whose call paths are known; Part::name: their domain
    kTracedRounding,  // malloc's headers of these, and what it rounds them up by
    kTracedMapping,   // the program's own mappings; Part::number tells of which call path
    kMallocLive,      // in arena Part::number, 0 is the main one; where traced: from before
    kMallocLarge,     // blocks with a mapping of their own
    kMallocFree,      // in arena Part::number
    kMallocCached,    // freed, and kept by threads
    kMallocArena,     // of arena Part::number, live or free: not known
    kMallocUntraced,  // live, of any arena, from before tracing
    kThreadStacks,
    kV8,
    kJit,  // anonymous, and may be executed
    kPartitionAlloc,
    kNamedAnonymous,  // Part::name tells which
    kAnonymous,
    kPrivateFiles,
    kSharedFiles,
    kSharedMemory,
    kUnfreed,  // the table that the preload backend keeps in the process
    kKernel,   // vdso and the like
};

// What to call it in a table.
std::string text(Kind kind);

struct Amount {
    std::uint64_t rss = 0, pss = 0, swap = 0, swap_pss = 0;
    Amount& operator+=(const Amount& other) {
        rss += other.rss;
        pss += other.pss;
        swap += other.swap;
        swap_pss += other.swap_pss;
        return *this;
    }
};

struct Part {
    Kind kind = Kind::kAnonymous;
    unsigned number = 0;  // of an arena
    std::string name;     // of named anonymous memory
    friend auto operator<=>(const Part&, const Part&) = default;
};

// Whole pages that are known to be one part, inside of mappings that hold several.
struct Claim {
    std::uint64_t start = 0, end = 0;
    Part part;
};

}  // namespace unfreed::rss
