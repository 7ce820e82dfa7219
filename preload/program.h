// What a program is that is about to be started: whether the shim can be loaded into it. By system calls
// alone, since it is asked in the child of a vfork or of a fork of many threads.
#pragma once
#include <cstdint>

namespace unfreed::preload {

enum class Obstacle : uint8_t {
    kNone,         // or not to be found out
    kNoLoader,     // it is linked statically
    kPrivileged,   // it gains privileges: the loader ignores LD_PRELOAD
    kOtherLoader,  // musl, 32 bits, another machine: its loader would fail, or complain
    kSanitizer,    // it ends when AddressSanitizer's library is not the first
};

// `path`: a file that execve could be given; of a script, its interpreter counts.
Obstacle obstacle_of(const char* path);

}
