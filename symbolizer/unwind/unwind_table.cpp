#include "symbolizer/unwind/unwind_table.h"

#include <algorithm>

#include "symbolizer/unwind/cfi_reader.h"

namespace unfreed::unwind {
namespace {

constexpr uf_rule kNoRow{0, 0, UF_CFA_NO_ROW};

struct Entry {
    const Entries* entries;
    const Fde* fde;
};

void append_gap(std::uint64_t begin, UnwindTable& table) {
    if (table.rows.empty() || table.rows.back().rule.kind == UF_CFA_NO_ROW) return;
    const auto pc = static_cast<std::uint32_t>(begin - table.base);
    if (table.rows.back().pc == pc) {
        table.rows.back().rule = kNoRow;
    } else {
        table.rows.push_back({pc, kNoRow});
    }
}

}  // namespace

UnwindTable compile_sections(std::span<const FrameSection> sections, std::span<const AddressRange> code) {
    UnwindTable table;
    if (code.empty()) return table;
    table.base = code[0].begin;
    for (const AddressRange& range : code) table.base = std::min(table.base, range.begin);

    std::vector<Entries> entries;
    entries.reserve(sections.size());
    for (const FrameSection& section : sections) {
        entries.push_back(read_entries(section));
        table.damaged += entries.back().damaged;
    }
    // Entries of code that the linker dropped keep address 0 or so: only what lies in code counts. A table
    // reaches 4 GB from its base: so do no more the programs that a small code model can link.
    const auto in_code = [&](const Fde& fde) {
        return fde.begin < fde.end && fde.end - table.base <= UINT32_MAX &&
               std::any_of(code.begin(), code.end(), [&](const AddressRange& range) {
                   return range.begin <= fde.begin && fde.end <= range.end;
               });
    };
    std::vector<Entry> order;
    for (const Entries& section : entries) {
        order.reserve(order.size() + section.fdes.size());
        for (const Fde& fde : section.fdes) {
            if (in_code(fde)) order.push_back({&section, &fde});
        }
    }
    // Stable: of two entries for one place, the section named first counts.
    const auto earlier = [](const Entry& a, const Entry& b) { return a.fde->begin < b.fde->begin; };
    if (!std::is_sorted(order.begin(), order.end(), earlier)) {
        std::stable_sort(order.begin(), order.end(), earlier);
    }
    std::uint64_t covered = table.base;
    table.rows.reserve(order.size() * 5);
    for (const auto& [section, fde] : order) {
        if (fde->begin < covered) continue;
        if (fde->begin > covered) append_gap(covered, table);
        if (!append_rows(section->cies[fde->cie], *fde, table.base, table.rows)) ++table.damaged;
        ++table.functions;
        covered = fde->end;
    }
    append_gap(covered, table);
    return table;
}

uf_rule rule_at(const UnwindTable& table, std::uint64_t address) {
    if (address < table.base || address - table.base > UINT32_MAX) return kNoRow;
    const auto pc = static_cast<std::uint32_t>(address - table.base);
    const auto after =
        std::upper_bound(table.rows.begin(), table.rows.end(), pc,
                         [](std::uint32_t value, const uf_row& row) { return value < row.pc; });
    return after == table.rows.begin() ? kNoRow : std::prev(after)->rule;
}

}  // namespace unfreed::unwind
