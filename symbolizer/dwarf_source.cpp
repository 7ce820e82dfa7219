#include "symbolizer/dwarf_source.h"

#include <dwarf.h>

#include <algorithm>
#include <vector>

#include "symbolizer/demangle.h"
#include "symbolizer/die_name.h"
#include "symbolizer/inline_frames.h"
#include "symbolizer/unit_ranges.h"

namespace unfreed::symbolizer {
namespace {

struct Place {
    std::string file;
    std::uint32_t line = 0;
};

std::string text_or_empty(const char* text) {
    return text == nullptr ? std::string() : std::string(text);
}

Dwarf_Files* files_of(Dwarf_Die& unit) {
    Dwarf_Files* files = nullptr;
    std::size_t count = 0;
    return dwarf_getsrcfiles(&unit, &files, &count) == 0 ? files : nullptr;
}

// As dwarf_decl_file(), which aborts (in elfutils 0.188) when a unit's line table is damaged or split off.
// The number counts in the file table of the unit that the attribute stands in, which may be another one than
// the DIE's.
std::string declaration_file(Dwarf_Die& function) {
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0;
    Dwarf_Die unit;
    if (dwarf_formudata(dwarf_attr_integrate(&function, DW_AT_decl_file, &attribute), &file) != 0 ||
        dwarf_cu_info(attribute.cu, nullptr, nullptr, &unit, nullptr, nullptr, nullptr, nullptr) != 0)
        return {};
    Dwarf_Files* files = files_of(unit);
    return files == nullptr ? std::string() : text_or_empty(dwarf_filesrc(files, file, nullptr, nullptr));
}

// Where the code that is inlined into the caller was called.
Place call_place(Dwarf_Die& inlined, Dwarf_Files* files) {
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0;
    Dwarf_Word line = 0;
    Place place;
    if (files != nullptr && dwarf_formudata(dwarf_attr(&inlined, DW_AT_call_file, &attribute), &file) == 0)
        place.file = text_or_empty(dwarf_filesrc(files, file, nullptr, nullptr));
    if (dwarf_formudata(dwarf_attr(&inlined, DW_AT_call_line, &attribute), &line) == 0 && line <= UINT32_MAX)
        place.line = static_cast<std::uint32_t>(line);
    return place;
}

// Languages whose linker names say more (scopes, parameters) than DWARF's source name.
bool mangles(int language) {
    switch (language) {
        case DW_LANG_C_plus_plus:
        case DW_LANG_C_plus_plus_03:
        case DW_LANG_C_plus_plus_11:
        case DW_LANG_C_plus_plus_14:
        case DW_LANG_D:
        case DW_LANG_Rust:
            return true;
        default:
            return false;
    }
}

}  // namespace

struct DwarfSource::Unit {
    Dwarf_Die die;
    Dwarf_Files* files = nullptr;  // that call sites refer to
    bool mangles = false;

    Place place_of(std::uint64_t address) {
        Dwarf_Line* entry = dwarf_getsrc_die(&die, address);
        int line = 0;
        if (entry == nullptr || dwarf_lineno(entry, &line) != 0 || line < 0) return {};
        return {text_or_empty(dwarf_linesrc(entry, nullptr, nullptr)), static_cast<std::uint32_t>(line)};
    }
};

// libdw keeps each line table that it has read until its handle is closed, some 50 bytes per line: a big
// program's would be gigabytes, while each is needed once. Everything here refers to units by offset, so that
// the handle can be changed between two of them.
constexpr std::size_t kMostLinesHeld = 500'000;

std::unique_ptr<DwarfSource> DwarfSource::open(const ElfFile& file, const Options& options) {
    if (file.section(".debug_info") == nullptr && file.section(".zdebug_info") == nullptr) return nullptr;
    std::unique_ptr<DwarfSource> source(new DwarfSource(file, options));
    return source->reopen() ? std::move(source) : nullptr;
}

bool DwarfSource::reopen() {
    close();
    lines_held_ = 0;
    named_.clear();  // by addresses that libdw may give to others
    dwarf_ = dwarf_begin_elf(file_.elf(), DWARF_C_READ, nullptr);
    if (dwarf_ == nullptr) return false;
    if (alternate_file_ != nullptr) {
        alternate_ = dwarf_begin_elf(alternate_file_->elf(), DWARF_C_READ, nullptr);
        if (alternate_ != nullptr) dwarf_setalt(dwarf_, alternate_);
    }
    return true;
}

void DwarfSource::close() {
    if (dwarf_ != nullptr) dwarf_end(dwarf_);
    if (alternate_ != nullptr) dwarf_end(alternate_);
    dwarf_ = nullptr;
    alternate_ = nullptr;
}

void DwarfSource::name(std::span<Query> queries, FunctionTable& functions) {
    struct InUnit {
        Dwarf_Off unit;
        Query* query;
    };
    std::vector<std::uint64_t> addresses;
    addresses.reserve(queries.size());
    for (const Query& query : queries) addresses.push_back(query.address);
    const auto units = find_units(dwarf_, addresses);
    std::vector<InUnit> found;
    for (std::size_t i = 0; i < queries.size(); ++i)
        if (!queries[i].whole && units[i]) found.push_back({*units[i], &queries[i]});
    std::stable_sort(found.begin(), found.end(),
                     [](const InUnit& a, const InUnit& b) { return a.unit < b.unit; });
    std::vector<Query*> group;
    for (std::size_t i = 0; i < found.size(); ++i) {
        group.push_back(found[i].query);
        if (i + 1 < found.size() && found[i + 1].unit == found[i].unit) continue;
        name_unit(found[i].unit, group, functions);
        group.clear();
        if (lines_held_ > kMostLinesHeld && !reopen()) return;
    }
}

void DwarfSource::name_unit(Dwarf_Off offset, std::span<Query* const> queries, FunctionTable& functions) {
    Unit unit;
    if (dwarf_offdie(dwarf_, offset, &unit.die) == nullptr) return;
    has_units_ = true;
    Dwarf_Lines* lines = nullptr;
    std::size_t count = 0;
    if (dwarf_getsrclines(&unit.die, &lines, &count) == 0) {
        lines_held_ += count;
        has_lines_ = true;
    }

    // A split unit's functions are in its .dwo, its lines here.
    Dwarf_Die tree = unit.die;
    Dwarf_Die split;
    std::uint8_t type = 0;
    if (dwarf_cu_info(unit.die.cu, nullptr, &type, nullptr, &split, nullptr, nullptr, nullptr) == 0 &&
        type == DW_UT_skeleton && split.cu != nullptr)
        tree = split;
    unit.files = files_of(tree);
    unit.mangles = mangles(dwarf_srclang(&tree));

    std::vector<std::uint64_t> addresses;
    for (const Query* query : queries) addresses.push_back(query->address);
    std::vector<FrameDies> frames = find_frames(tree, addresses);
    for (std::size_t i = 0; i < queries.size(); ++i) name_query(unit, frames[i], *queries[i], functions);
}

void DwarfSource::name_query(Unit& unit, std::span<Dwarf_Die> frames, Query& query,
                             FunctionTable& functions) {
    Place place = unit.place_of(query.address);
    for (std::size_t i = frames.size(); i-- > 0;) {
        const NamedDie& function = named(frames[i], unit.mangles);
        // The file of a line is that of the line table or of the call; the declaration may be in another.
        const std::string& file = place.file.empty() ? function.file : place.file;
        const std::uint32_t start_line = file == function.file ? function.line : 0;
        if (i > 0) {
            const std::string& name = function.name.empty() ? "[inlined]" : function.name;
            query.lines.push_back({functions.intern(name, file, start_line), place.line});
            place = call_place(frames[i], unit.files);
            continue;
        }
        query.owner_file = file;
        query.owner_start_line = start_line;
        query.owner_line = place.line;
        query.owner_fallback = function.name;
        if (!function.name.empty() && (function.is_linkage_name || !unit.mangles))
            query.finish(without_clone_suffix(function.name), functions);
    }
    if (frames.empty()) {  // assembly has lines, but no functions
        query.owner_file = place.file;
        query.owner_line = place.line;
    }
}

const DwarfSource::NamedDie& DwarfSource::named(Dwarf_Die& function, bool has_scopes) {
    Dwarf_Attribute attribute;
    Dwarf_Die origin;
    const bool has_origin =
        dwarf_formref_die(dwarf_attr(&function, DW_AT_abstract_origin, &attribute), &origin) != nullptr;
    const auto [found, is_new] = named_.try_emplace(has_origin ? origin.addr : function.addr);
    NamedDie& result = found->second;
    if (!is_new) return result;
    result.name = linkage_name(function);
    result.is_linkage_name = !result.name.empty();
    if (!result.is_linkage_name) result.name = source_name(function, has_scopes);
    int line = 0;
    if (dwarf_decl_line(&function, &line) == 0 && line > 0) result.line = static_cast<std::uint32_t>(line);
    result.file = declaration_file(function);
    return result;
}

}  // namespace unfreed::symbolizer
