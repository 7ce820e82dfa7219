#include "symbolizer/go/module_data.h"

#include "symbolizer/go/inline_tree.h"

namespace unfreed::symbolizer::go {
namespace {

// Words of moduledata, Go 1.18 on: pcHeader; the slices (address, length, capacity) funcnametab, cutab,
// filetab, pctab, pclntable, ftab; findfunctab, minpc, maxpc, text, ... ; go:func.* where it depends on the
// version: 1.20 put covctrs and ecovctrs before it.
enum Word : unsigned {
    kHeader = 0,
    kNames = 1,
    kUnits = 4,
    kFiles = 7,
    kValues = 10,
    kFunctions = 13,
    kFunctionTable = 16,
    kFirstPc = 20,
    kLastPc = 21,
    kText = 22,
    kFunctionData118 = 38,
    kFunctionData120 = 40,
    kFirstAfterText = 24,  // Go 1.26 on: somewhere from here to the last,
    kLast = 64,            // followed by the end of the line table's section
};

// Go 1.26 moved go:func.* to the end of the line table's section, and names that section's end right after
// it; what comes before them changes between versions. Nothing: it is not so.
std::optional<std::uint64_t> function_data_in_section(const FileImage& image, const LineTable& table,
                                                      std::uint64_t address) {
    for (const Section& section : image.sections()) {
        const std::uint64_t end = section.address + section.bytes.size();
        if (section.address != table.address()) continue;
        for (unsigned word = kFirstAfterText; word < kLast; ++word) {
            const auto data = image.pointer(address + word * 8);
            if (!data || image.pointer(address + (word + 1) * 8) != std::optional(end)) continue;
            if (*data > table.part_address(LineTable::Part::kFunctions) && *data < end) return data;
        }
    }
    return std::nullopt;
}

std::optional<ModuleData> read_at(const FileImage& image, const LineTable& table, std::uint64_t address) {
    const auto is = [&](unsigned word, std::uint64_t expected) {
        return image.pointer(address + word * 8) == std::optional(expected);
    };
    using Part = LineTable::Part;
    if (!is(kHeader, table.address()) || !is(kNames, table.part_address(Part::kNames)) ||
        !is(kUnits, table.part_address(Part::kUnits)) || !is(kFiles, table.part_address(Part::kFiles)) ||
        !is(kValues, table.part_address(Part::kValues)) ||
        !is(kFunctions, table.part_address(Part::kFunctions)) ||
        !is(kFunctionTable, table.part_address(Part::kFunctions)) ||
        !is(kFunctionTable + 1, table.function_count() + 1))
        return std::nullopt;

    const auto text = image.pointer(address + kText * 8);
    if (!text || (table.text() != 0 && table.text() != *text)) return std::nullopt;
    LineTable placed = table;
    placed.set_text(*text);
    const auto first = placed.entry(0);
    const auto last = placed.entry(table.function_count());
    if (!first || !last || !is(kFirstPc, *first) || !is(kLastPc, *last)) return std::nullopt;

    std::optional<std::uint64_t> function_data;
    if (table.text() == 0)
        function_data = function_data_in_section(image, table, address);
    else
        function_data =
            image.pointer(address + 8 * (table.layout() == LineTable::Layout::kGo118 ? kFunctionData118
                                                                                     : kFunctionData120));
    if (!function_data || !holds_inline_trees(image, placed, *function_data)) function_data = 0;
    return ModuleData{address, *text, *function_data};
}

bool may_hold_module_data(std::string_view section) {
    return section == ".noptrdata" || section == ".data" || section == ".go.module" ||
           section == ".data.rel.ro" || section == ".data.rel.ro.go.module";
}

}  // namespace

std::optional<ModuleData> find_module_data(const FileImage& image, const LineTable& table) {
    using Layout = LineTable::Layout;
    if (table.layout() != Layout::kGo118 && table.layout() != Layout::kGo120) return std::nullopt;
    std::optional<ModuleData> found;
    for (const Section& section : image.sections()) {
        if (!may_hold_module_data(section.name)) continue;
        const std::uint64_t misaligned = section.address % 8;
        const std::uint64_t first = section.address + (misaligned == 0 ? 0 : 8 - misaligned);
        for (std::uint64_t at = first; at - section.address < section.bytes.size(); at += 8) {
            if (image.pointer(at) != std::optional(table.address())) continue;
            const auto here = read_at(image, table, at);
            if (!here) continue;
            if (found) return std::nullopt;  // two that fit: neither is believed
            found = here;
        }
    }
    return found;
}

}  // namespace unfreed::symbolizer::go
