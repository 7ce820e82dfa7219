// Which files an exec will map as code, as far as can be told before it: the executable (what a #! line leads
// to), its interpreter, what it and its libraries need, what LD_PRELOAD adds.
#pragma once
#include <string>
#include <vector>

namespace unfreed::ebpf {

// Paths; a guess, so some may be missing or not be mapped in the end.
std::vector<std::string> libraries_of(const std::string& executable);

}  // namespace unfreed::ebpf
