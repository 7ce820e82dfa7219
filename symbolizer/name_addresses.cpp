// The flow: open the file and its debug file, sort the addresses, ask the sources in order, lay out the
// answers.
#include <algorithm>

#include "symbolizer/debug_file.h"
#include "symbolizer/dwarf_source.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/go/go_source.h"
#include "symbolizer/mini_debug_info.h"
#include "symbolizer/symbol_source.h"
#include "symbolizer/symbolizer.h"
#include "symbolizer/vdso.h"

namespace unfreed::symbolizer {
namespace {

bool is_anonymous(std::string_view path) {
    return path.empty() || path.starts_with("[") || path.starts_with("//anon");
}

// The kernel's mark on the path of a file that was deleted, or replaced by another, while it was mapped.
std::string without_deleted(const std::string& path) {
    static constexpr std::string_view kMark = " (deleted)";
    return path.ends_with(kMark) ? path.substr(0, path.size() - kMark.size()) : path;
}

// The file as it was when the process ran: the one that the caller can still reach (even deleted or
// replaced), else the one at the path.
ElfFile::Opened open_module(const ModuleInput& module) {
    if (is_vdso(module.path)) return open_vdso();
    if (!module.open_path.empty()) {
        ElfFile::Opened opened = ElfFile::open(module.open_path);
        if (opened.file != nullptr) return opened;
    }
    return ElfFile::open(without_deleted(module.path));
}

// The files that names of one module come from.
struct Files {
    std::unique_ptr<ElfFile> main;   // null: not there, not readable, another build
    std::unique_ptr<ElfFile> debug;  // symbols and DWARF, found separately
    std::unique_ptr<ElfFile> mini;   // more symbols, packed into main
    Reason reason = Reason::kNone;   // why main is null
    std::string build_id;

    std::vector<const ElfFile*> all() const {
        std::vector<const ElfFile*> files;
        for (const auto* file : {debug.get(), main.get(), mini.get()})
            if (file != nullptr) files.push_back(file);
        return files;
    }
};

Files open_files(const ModuleInput& module, const Options& options) {
    Files files;
    ElfFile::Opened opened = open_module(module);
    files.main = std::move(opened.file);
    files.reason = opened.reason;
    if (files.main != nullptr && !module.build_id.empty() && files.main->build_id() != module.build_id) {
        files.main = nullptr;
        files.reason = Reason::kFileReplaced;
    }
    files.build_id = files.main != nullptr ? files.main->build_id() : module.build_id;
    // A debug file helps even when the module itself is gone.
    files.debug = find_debug_file(files.main.get(), module.path, files.build_id, options);
    if (files.main != nullptr && files.debug == nullptr) files.mini = mini_debug_info(*files.main);
    return files;
}

bool is_outside(const ModuleInput& module, std::uint64_t address) {
    const bool bounded = module.start != 0 || module.end != 0;
    return bounded && (address < module.start || address >= module.end);
}

// Each address once, sorted, as in the file.
std::vector<Query> make_queries(const ModuleInput& module, std::span<const std::uint64_t> addresses) {
    std::vector<std::uint64_t> sorted;
    sorted.reserve(addresses.size());
    for (std::uint64_t address : addresses)
        if (!is_outside(module, address)) sorted.push_back(address - module.bias);
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    std::vector<Query> queries(sorted.size());
    for (std::size_t i = 0; i < sorted.size(); ++i) queries[i].address = sorted[i];
    return queries;
}

// Returns why those that are still without a name have none.
Reason ask_sources(const Files& files, const Options& options, std::span<Query> queries,
                   FunctionTable& functions, ModuleNames& names) {
    const auto go = files.main == nullptr ? nullptr : go::GoSource::open(*files.main);
    if (go != nullptr) {
        go->name(queries, functions);
        names.has_lines = true;
        names.has_inlines = go->has_inlines();
    }
    if (std::all_of(queries.begin(), queries.end(), [](const Query& query) { return query.whole; }))
        return Reason::kNone;
    for (const ElfFile* file : files.all()) {
        const auto dwarf = DwarfSource::open(*file, options);
        if (dwarf == nullptr) continue;
        dwarf->name(queries, functions);
        names.has_lines |= dwarf->has_lines();
        names.has_inlines |= dwarf->has_inlines();
        break;
    }
    SymbolSource symbols(files.all());
    symbols.name(queries, functions);
    for (Query& query : queries)
        if (!query.whole && !query.owner_fallback.empty()) query.finish(query.owner_fallback, functions);
    if (symbols.complete()) return Reason::kNoSymbolHere;
    if (files.main == nullptr) return files.reason;
    return files.main->damaged() ? Reason::kDamaged : Reason::kNoSymbols;
}

void lay_out(const ModuleInput& module, std::span<const std::uint64_t> addresses,
             std::span<const Query> queries, Reason reason, ModuleNames& names) {
    std::vector<Location> of_query;
    of_query.reserve(queries.size());
    for (const Query& query : queries) {
        const auto first = static_cast<std::uint32_t>(names.lines.size());
        const auto count = static_cast<std::uint32_t>(query.lines.size());
        names.lines.insert(names.lines.end(), query.lines.begin(), query.lines.end());
        of_query.push_back({first, count, count == 0 ? reason : Reason::kNone});
    }
    for (std::uint64_t address : addresses) {
        if (is_outside(module, address)) {
            names.locations.push_back({0, 0, Reason::kOutsideModule});
            continue;
        }
        const auto query = std::lower_bound(queries.begin(), queries.end(), address - module.bias,
                                            [](const Query& q, std::uint64_t a) { return q.address < a; });
        names.locations.push_back(of_query[static_cast<std::size_t>(query - queries.begin())]);
    }
}

}  // namespace

ModuleNames name_addresses(const ModuleInput& module, std::span<const std::uint64_t> addresses,
                           const Options& options) {
    ModuleNames names;
    if (is_anonymous(module.path) && !is_vdso(module.path)) {
        names.build_id = module.build_id;
        names.locations.assign(addresses.size(), {0, 0, Reason::kJit});
        return names;
    }
    const Files files = open_files(module, options);
    names.build_id = files.build_id;
    std::vector<Query> queries = make_queries(module, addresses);
    FunctionTable functions;
    const Reason reason = ask_sources(files, options, queries, functions, names);
    lay_out(module, addresses, queries, reason, names);
    names.functions = functions.take();
    names.has_functions = !names.functions.empty();
    return names;
}

std::string build_id_of(const std::string& path) {
    const ElfFile::Opened opened = ElfFile::open(path);
    return opened.file == nullptr ? std::string() : opened.file->build_id();
}

}  // namespace unfreed::symbolizer
