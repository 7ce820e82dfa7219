#include "symbolizer/unit_ranges.h"

#include <dwarf.h>

#include <algorithm>

namespace unfreed::symbolizer {
namespace {

using Units = std::vector<std::optional<Dwarf_Off>>;

void claim(std::span<const std::uint64_t> addresses, std::uint64_t start, std::uint64_t end, Dwarf_Off unit,
           Units& units) {
    if (start == 0) return;  // code that the linker threw away
    auto address = std::lower_bound(addresses.begin(), addresses.end(), start);
    for (; address != addresses.end() && *address < end; ++address) {
        std::optional<Dwarf_Off>& owner = units[static_cast<std::size_t>(address - addresses.begin())];
        if (!owner || unit < *owner) owner = unit;
    }
}

void read_aranges(Dwarf* dwarf, std::span<const std::uint64_t> addresses, Units& units) {
    Dwarf_Aranges* ranges = nullptr;
    std::size_t count = 0;
    if (dwarf_getaranges(dwarf, &ranges, &count) != 0) return;
    for (std::size_t i = 0; i < count; ++i) {
        Dwarf_Addr start = 0;
        Dwarf_Word length = 0;
        Dwarf_Off unit = 0;
        if (dwarf_getarangeinfo(dwarf_onearange(ranges, i), &start, &length, &unit) == 0)
            claim(addresses, start, start + length, unit, units);
    }
}

void read_units(Dwarf* dwarf, std::span<const std::uint64_t> addresses, Units& units) {
    Dwarf_CU* unit = nullptr;
    Dwarf_CU* next = nullptr;
    Dwarf_Half version = 0;
    std::uint8_t type = 0;
    Dwarf_Die die;
    while (dwarf_get_units(dwarf, unit, &next, &version, &type, &die, nullptr) == 0) {
        unit = next;
        if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
        Dwarf_Addr base = 0;
        Dwarf_Addr start = 0;
        Dwarf_Addr end = 0;
        for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;)
            claim(addresses, start, end, dwarf_dieoffset(&die), units);
    }
}

}  // namespace

std::vector<std::optional<Dwarf_Off>> find_units(Dwarf* dwarf, std::span<const std::uint64_t> addresses) {
    Units units(addresses.size());
    read_aranges(dwarf, addresses, units);
    if (std::any_of(units.begin(), units.end(), [](const auto& unit) { return !unit; }))
        read_units(dwarf, addresses, units);
    return units;
}

}  // namespace unfreed::symbolizer
