#include "symbolizer/unit_ranges.h"

#include <dwarf.h>

#include <algorithm>

namespace unfreed::symbolizer {

UnitRanges::UnitRanges(Dwarf* dwarf) : dwarf_(dwarf) {
    std::size_t count = 0;
    if (dwarf_getaranges(dwarf_, &aranges_, &count) != 0) aranges_ = nullptr;
}

std::optional<Dwarf_Off> UnitRanges::find(std::uint64_t address) {
    if (aranges_ != nullptr) {
        Dwarf_Off unit = 0;
        Dwarf_Arange* range = dwarf_getarange_addr(aranges_, address);
        if (range != nullptr && dwarf_getarangeinfo(range, nullptr, nullptr, &unit) == 0) return unit;
    }
    if (!units_read_) read_units();
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                        [](std::uint64_t a, const Range& range) { return a < range.start; });
    if (after == ranges_.begin() || address >= std::prev(after)->end) return std::nullopt;
    return std::prev(after)->unit;
}

void UnitRanges::read_units() {
    units_read_ = true;
    Dwarf_CU* unit = nullptr;
    Dwarf_CU* next = nullptr;
    Dwarf_Half version = 0;
    std::uint8_t type = 0;
    Dwarf_Die die;
    while (dwarf_get_units(dwarf_, unit, &next, &version, &type, &die, nullptr) == 0) {
        unit = next;
        if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
        Dwarf_Addr base = 0;
        Dwarf_Addr start = 0;
        Dwarf_Addr end = 0;
        for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;)
            // Code that the linker threw away starts at 0.
            if (start != 0 && start < end) ranges_.push_back({start, end, dwarf_dieoffset(&die)});
    }
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return a.start < b.start; });
}

}  // namespace unfreed::symbolizer
