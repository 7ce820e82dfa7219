// The readable form of a linker's name: C++ (Itanium), Rust (legacy and v0) and D, by libiberty.
#pragma once
#include <string>

namespace unfreed::symbolizer {

// `name` itself when it is not mangled, damaged, or so long when written out that nobody could read it.
std::string demangle(const std::string& name);

}  // namespace unfreed::symbolizer
