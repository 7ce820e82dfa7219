// Inner calls: an allocation function that calls another recorded one, such as cv::fastMalloc its
// posix_memalign or a preloaded allocator its mmap. The block is counted once, by the outer function, which
// is the one the program called. Inner calls are told by where they return to, which holds also when an
// exception or a longjmp leaves the outer function.
#pragma once
#include <cstdint>

#include "preload/visibility.h"

namespace unfreed::preload {

constexpr uint32_t kMaxInnerRanges = 8;

struct InnerRanges {
    uint32_t count;  // set after its range (release); only grows
    struct {
        uint64_t start, end;
    } range[kMaxInnerRanges];
};

extern UF_HIDDEN InnerRanges inner_ranges;

// The code [start, end) is the inside of an allocation function.
void add_inner_range(uint64_t start, uint64_t end);

inline uint32_t inner_range_count() {
    return __atomic_load_n(&inner_ranges.count, __ATOMIC_ACQUIRE);
}

inline bool is_inner_call(uint64_t return_address) {
    uint32_t count = inner_range_count();
    for (uint32_t i = 0; __builtin_expect(i < count, 0); i++)
        if (return_address - inner_ranges.range[i].start <
            inner_ranges.range[i].end - inner_ranges.range[i].start)
            return true;
    return false;
}

}
