// The table of `unfreed rss`: one line per part, largest facts first by kind; it adds up.
#pragma once
#include <string>
#include <vector>

#include "userspace/rss/measure.h"

namespace unfreed::rss {

// Of one process: resident and swapped bytes; beside what the kernel says in sum.
// Of several: proportional shares (PSS), so that pages that they share count once.
std::string table(const std::vector<Measured>& processes);

}  // namespace unfreed::rss
