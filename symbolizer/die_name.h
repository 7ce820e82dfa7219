// What DWARF calls a function.
#pragma once
#include <elfutils/libdw.h>

#include <string>

namespace unfreed::symbolizer {

// The linker's name (mangled); empty: DWARF gives none, as for C and for static functions.
std::string linkage_name(Dwarf_Die& function);

// The name as in the source, with its namespaces and classes, but without parameters; empty: none.
std::string source_name(Dwarf_Die& function);

}  // namespace unfreed::symbolizer
