// Where glibc's malloc keeps its blocks, recognized by its own records in the process's memory (glibc,
// malloc/arena.c: struct heap_info at every multiple of 64 MiB that an arena's heap begins at; malloc.c: a
// block with a mapping of its own has the bit IS_MMAPPED, and its size is the mapping's).
//
// What does not look exactly so is not claimed.
#pragma once
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/part.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

std::vector<Claim> malloc_areas(const LiveProcess& process, const std::vector<Mapping>& mappings);

}  // namespace unfreed::rss
