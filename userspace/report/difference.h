// What changed from one profile to a later one, as a profile whose values may be negative.
#pragma once
#include "userspace/report/profile.h"

namespace unfreed {

// `after` minus `before`. A process of `before` stands for the one of that name in `after`, whose pid it
// takes (of several, in the order of their pids), unless both have it under the same pid. Views merge call
// paths by name, so that equal ones cancel out wherever the program was loaded. When the two were not made by
// the same builds, lines are taken out of both (they may have moved), and a note says so.
Profile difference(Profile before, Profile after);

}  // namespace unfreed
