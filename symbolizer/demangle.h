// The readable form of a linker's name: C++ (Itanium), Rust (legacy and v0) and D, by libiberty.
#pragma once
#include <string>

namespace unfreed::symbolizer {

// `name` itself when it is not mangled, damaged, or so long when written out that nobody could read it.
std::string demangle(const std::string& name);

// Without GCC's and clang's mark of a copy or a part of a function: "_Z1fv.constprop.0", "_Z1fv.cold" are the
// one _Z1fv of the source. Only for names whose function DWARF knows: elsewhere the mark says what the code
// is.
std::string without_clone_suffix(const std::string& name);

}  // namespace unfreed::symbolizer
