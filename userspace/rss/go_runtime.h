// What Go's runtime does with the memory that it has from the kernel, read from the living process: spans of
// the heap in use and idle, stacks of goroutines, the runtime's own records, and the runtime's own
// statistics.
//
// Source: Go, src/runtime/mheap.go (mheap_, mspan), mstats.go (memstats.heapStats), mcentral.go; layouts by
// the program's DWARF (live_value.h), without it spans alone, by version (go_spans.h). Never guessed: where
// the runtime is one that has no such records, the heap is one part, and a note says why. The process is not
// stopped.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/part.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

// Bytes, as the program itself has them in runtime.MemStats.
struct GoStatistics {
    std::uint64_t heap_in_use = 0;    // HeapInuse
    std::uint64_t heap_idle = 0;      // HeapIdle - HeapReleased: kept for later
    std::uint64_t heap_released = 0;  // HeapReleased: address space kept, memory given back
    std::uint64_t stacks = 0;         // StackInuse
};

struct GoRuntime {
    struct Area {
        std::uint64_t start = 0, end = 0;
    };
    std::vector<Claim> claims;  // spans in use, by what for
    std::vector<Area> arenas;   // of the heap
    std::vector<Area>
        records;  // where the runtime keeps records of its own; mappings that these touch are its own
    bool spans_known = false;
    std::optional<GoStatistics> statistics;
    std::vector<std::string> notes;

    // What a mapping as a whole is, where Go has it.
    std::optional<Part> part_of(const Mapping& mapping) const;
};

GoRuntime look_at_go(const LiveProcess& process, const std::vector<Mapping>& mappings);

}  // namespace unfreed::rss
