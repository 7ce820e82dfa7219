// Which modules of a snapshot are the same file: they are named once and become one mapping of the profile,
// with the addresses of the first process that mapped it.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "userspace/snapshot/snapshot.h"

namespace unfreed {

struct ModuleGroups {
    std::vector<std::uint32_t> group_of;  // by module
    std::vector<ModuleIndex> first;       // by group: the module that speaks for it
};

// `executable`: the command's own file, which becomes the first group, as pprof wants its mapping to be.
ModuleGroups group_modules(const std::vector<Module>& modules, std::string_view executable);

// Our own shim: its frames never show.
bool is_shim(const Module& module);

// Code made at run time, which no file describes: each process has its own.
bool is_anonymous(const Module& module);

// `address` in `module`, as an address in `other`, which is the same file.
inline std::uint64_t move_address(std::uint64_t address, const Module& module, const Module& other) {
    return address - module.bias + other.bias;
}

}  // namespace unfreed
