// Which compilation unit an address belongs to: by .debug_aranges, and for what that lacks (clang writes
// none) by the ranges of all units. No unit's tree or line table is read for it.
//
// An inline function that several units have is linked once, from the first of them; ld lets the others'
// DWARF refer to that one too, though their code was another. So the first unit that claims an address owns
// it.
#pragma once
#include <elfutils/libdw.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace unfreed::symbolizer {

// For each of `addresses` (sorted) the offset of its unit's DIE in .debug_info.
std::vector<std::optional<Dwarf_Off>> find_units(Dwarf* dwarf, std::span<const std::uint64_t> addresses);

}  // namespace unfreed::symbolizer
