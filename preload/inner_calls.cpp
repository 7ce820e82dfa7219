#include "preload/inner_calls.h"

#include "preload/system_call.h"

namespace unfreed::preload {
namespace {
uint32_t adding = 0;
}

InnerRanges inner_ranges{};

void add_inner_range(uint64_t start, uint64_t end) {
    SignalsHeld held;
    while (__atomic_exchange_n(&adding, 1, __ATOMIC_ACQUIRE) != 0) system_call(SYS_sched_yield);
    uint32_t count = inner_ranges.count;
    bool known = false;
    for (uint32_t i = 0; i < count; i++)
        known |= inner_ranges.range[i].start == start && inner_ranges.range[i].end == end;
    if (!known && count < kMaxInnerRanges) {
        inner_ranges.range[count].start = start;
        inner_ranges.range[count].end = end;
        __atomic_store_n(&inner_ranges.count, count + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&adding, 0, __ATOMIC_RELEASE);
}

}
