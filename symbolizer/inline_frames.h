// The functions that an address is inside of, by DWARF: the one that owns the code, and those inlined into
// it.
#pragma once
#include <elfutils/libdw.h>

#include <cstdint>
#include <span>
#include <vector>

namespace unfreed::symbolizer {

// The owner's DIE (DW_TAG_subprogram) first, then inlined calls (DW_TAG_inlined_subroutine) inwards. Empty:
// unknown.
using FrameDies = std::vector<Dwarf_Die>;

// For each of `addresses` (sorted), all in `unit`. The unit's tree is walked once for all of them, and only
// subtrees whose ranges hold one of the addresses are entered.
std::vector<FrameDies> find_frames(const Dwarf_Die& unit, std::span<const std::uint64_t> addresses);

}  // namespace unfreed::symbolizer
