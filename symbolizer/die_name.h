// What DWARF calls a function.
#pragma once
#include <elfutils/libdw.h>

#include <string>

namespace unfreed::symbolizer {

// The linker's name (mangled); empty: DWARF gives none, as for C and for static functions.
std::string linkage_name(Dwarf_Die& function);

// The name as in the source, without parameters; empty: none. `with_scopes` puts its namespaces and classes
// before it: for languages that have them, since finding them takes a walk through the unit.
std::string source_name(Dwarf_Die& function, bool with_scopes);

}  // namespace unfreed::symbolizer
