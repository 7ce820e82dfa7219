// The reader's seam for tests and fuzzers: the same as read_pprof() on what a descriptor holds.
#pragma once
#include <string>

#include "userspace/report/profile.h"

namespace unfreed {

// Takes over `descriptor`; `name` stands in errors.
Profile read_pprof(int descriptor, const std::string& name);

}  // namespace unfreed
