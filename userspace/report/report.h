// The report stage as the rest of the command sees it: Snapshot -> Profile -> pprof file, summary.
#pragma once
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>

#include "userspace/report/profile.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed {

// Told how far symbolizing is: what is being read, and how many of `all` are done. May be empty.
using Progress = std::function<void(const std::string& what, std::size_t done, std::size_t all)>;

// Names every frame, takes out the shim's own, and folds `malloc` under libstdc++'s operator new into that
// operator. The snapshot's memory is given back on the way.
Profile build_profile(Snapshot&& snapshot, const Progress& progress);

// Error (125) when `path` cannot be written; leaves nothing behind. For before the run starts.
void check_writable(const std::string& path);

// Gzip'd pprof. Written beside `path`, synced and renamed: on any Error (125) an older file is as it was.
void write_pprof(const Profile& profile, const std::string& path);

// The same into an open descriptor, in place (standard output).
void write_pprof(const Profile& profile, int descriptor);

// Any pprof file, gzip'd or not. Error (125) that says whether it is missing, truncated, corrupt or foreign.
Profile read_pprof(const std::string& path);

// What the output of a text view may use.
struct Terminal {
    std::size_t width = 0;  // columns; 0: lines are as long as they are
    bool colour = false;
};
// Of a file descriptor: a terminal's width, and colour unless NO_COLOR is set; {} for anything else.
Terminal terminal_of(int descriptor);

// The header, the `top` largest call paths of outstanding memory, and the loss statement.
void print_summary(const Profile& profile, std::ostream& out, Terminal terminal, std::size_t top);

}  // namespace unfreed
