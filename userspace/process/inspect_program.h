// What COMMAND is, found out before anything runs: which file an exec would load, and whether a library that
// is preloaded into it would see its allocations.
#pragma once
#include <string>

namespace unfreed {

struct Program {
    std::string path;    // what to exec: absolute, or as typed when it held a slash
    std::string binary;  // the ELF file that the kernel loads in the end: path, or what its #! line leads to
    bool shell_script = false;  // no #! line: as execvp does, /bin/sh is to run it

    // Why a preloaded library cannot see its allocations, as a clause ("it is linked statically"); empty: it
    // can.
    std::string preload_obstacle;
    // Why no backend can trace it ("it is a 32-bit program"); empty: one can.
    std::string obstacle;
};

// Looks `command` up as execvp does (`search_path`: the value of PATH, nullptr when it is not set). Throws
// Error with exit code 127 when it is not found, 126 when it is there but cannot be run.
Program inspect_program(const std::string& command, const char* search_path);

}  // namespace unfreed
