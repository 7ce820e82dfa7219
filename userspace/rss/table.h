// What was measured as the table that people see: one row per part, in the order of their kinds.
#pragma once
#include <vector>

#include "userspace/rss/measure.h"
#include "userspace/snapshot/memory_table.h"

namespace unfreed::rss {

// Of one process: resident and swapped bytes; beside what the kernel says in sum.
// Of several: proportional shares (PSS), so that pages that they share count once.
MemoryTable table(const std::vector<Measured>& processes);

}  // namespace unfreed::rss
