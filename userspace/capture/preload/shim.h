// What a process needs to be given so that the shim is loaded into it and finds us.
#pragma once
#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace unfreed {

// The shim's file: beside the unfreed command (a build) or in ../lib/unfreed (installed). Error (125) when it
// is not there, or its path cannot stand in LD_PRELOAD.
std::string find_shim();

// LD_PRELOAD with the shim in front of what was there.
std::string preload_first(const std::string& shim, const char* inherited);

// The shim maps a sparse table of UF_TABLE_BYTES. Where the caller limits the address space (ulimit -v), the
// limit has to grow by that much; the shim takes back what is left.
struct AddressSpace {
    bool possible = true;
    std::optional<rlimit> raised;          // the limit for the command; none: there is no limit to raise
    std::optional<std::uint64_t> program;  // what the program itself was given
};
AddressSpace plan_address_space(rlimit inherited, bool may_raise_hard_limit);

// For this process's own limit. Whether it may be raised is tried: root may lack that right in a container.
AddressSpace plan_address_space();

}  // namespace unfreed
