// What unfreed says in the comments of a pprof file, one comment per line of it:
//
//   command: python3 -c 'print(1)'
//   backend: preload
//   sampling: every allocation            (for people; the number is the profile's period)
//   duration: 1.234 s                     (for people; the number is duration_nanos)
//   process: 4711 python3: exited with 0
//   nothing lost                          or, one per cause:
//   lost: 12 blocks not recorded: the live table is full
//   note: ...
//
// and, where processes were alive at the moment of the snapshot, the table of where their memory is, in
// bytes:
//
//   memory: of service (4711)
//   memory: 1234567 resident, 0 swapped: malloc, live, as traced        (one for each row; they add up)
//   memory: 2345678 VmRSS + VmSwap                                      (of one process)
//   memory: 1234567 resident, 0 swapped, in all: child (4712)           (of several, one for each)
//   memory: note: ...
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "userspace/report/profile.h"

namespace unfreed {

std::vector<std::string> comments_of(const Profile& profile);

// Takes over what one comment says. A comment of another tool becomes a note.
void read_comment(std::string_view comment, Profile& profile);

// "every allocation", "one allocation in 524288 bytes on average".
std::string sampling_text(const Profile& profile);

// The loss statement as every view shows it: one line per cause, "nothing lost", or that it is not known.
std::vector<std::string> loss_statement(const Profile& profile);

}  // namespace unfreed
