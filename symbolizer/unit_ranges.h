// Which compilation unit an address belongs to: by .debug_aranges, and for what that lacks (clang writes
// none) by the ranges of all units, read once. No unit's tree or line table is read for it.
#pragma once
#include <elfutils/libdw.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace unfreed::symbolizer {

class UnitRanges {
  public:
    explicit UnitRanges(Dwarf* dwarf);
    // Offset of the unit's DIE in .debug_info.
    std::optional<Dwarf_Off> find(std::uint64_t address);

  private:
    struct Range {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        Dwarf_Off unit = 0;
    };
    void read_units();

    Dwarf* dwarf_;
    Dwarf_Aranges* aranges_ = nullptr;
    std::vector<Range> ranges_;  // by start; read at the first miss
    bool units_read_ = false;
};

}  // namespace unfreed::symbolizer
