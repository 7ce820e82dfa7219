#include "symbolizer/go/go_symbols.h"

#include <algorithm>

#include "symbolizer/go/inline_tree.h"

namespace unfreed::symbolizer::go {
namespace {

constexpr std::string_view kOwnSections[] = {".gopclntab", ".data.rel.ro.gopclntab"};

// Only files that the Go linker had a hand in are searched for a table without a section of its own.
bool made_by_go(const FileImage& image) {
    return std::any_of(image.sections().begin(), image.sections().end(), [](const Section& section) {
        return section.name == ".go.buildinfo" || section.name == ".note.go.buildid" ||
               section.name == ".gosymtab";
    });
}

// A system linker merges the section of a position-independent program into one of these.
std::optional<LineTable> search(const FileImage& image) {
    for (const Section& section : image.sections()) {
        if (section.name != ".data.rel.ro" && section.name != ".rodata") continue;
        for (std::uint64_t at = 0; at + 8 <= section.bytes.size(); at += 8) {
            if (section.bytes[at + 3] != 0xff || section.bytes[at + 4] != 0) continue;  // cheap: magic, zero
            if (auto table = LineTable::at(image, section.address + at)) return table;
        }
    }
    return std::nullopt;
}

std::optional<LineTable> find_table(const FileImage& image) {
    for (const Section& section : image.sections()) {
        if (std::find(std::begin(kOwnSections), std::end(kOwnSections), section.name) ==
            std::end(kOwnSections))
            continue;
        if (auto table = LineTable::at(image, section.address)) return table;
    }
    return made_by_go(image) ? search(image) : std::nullopt;
}

}  // namespace

GoSymbols::GoSymbols(std::unique_ptr<const FileImage> image, const LineTable& table)
    : image_(std::move(image)), table_(table), module_(find_module_data(*image_, table_)) {
    if (module_) table_.set_text(module_->text);
}

std::optional<GoSymbols> GoSymbols::open(Elf* elf) {
    auto image = std::make_unique<const FileImage>(elf);
    const auto table = find_table(*image);
    if (!table) return std::nullopt;
    GoSymbols symbols(std::move(image), *table);
    const bool needs_text =
        table->layout() == LineTable::Layout::kGo118 || table->layout() == LineTable::Layout::kGo120;
    if (needs_text && symbols.table_.text() == 0) return std::nullopt;
    return symbols;
}

std::vector<GoFrame> GoSymbols::lookup(std::uint64_t address) const {
    const auto function = table_.function_at(address);
    if (!function) return {};
    std::vector<GoFrame> frames;
    if (has_inlines()) {
        for (const InlinedCall& call :
             inlined_calls(*image_, table_, module_->function_data, *function, address)) {
            frames.push_back({table_.name(call.name), table_.file(*function, address),
                              table_.line(*function, address), call.start_line});
            address = call.address;
        }
    }
    frames.push_back({table_.name(function->name), table_.file(*function, address),
                      table_.line(*function, address), function->start_line});
    return frames;
}

}  // namespace unfreed::symbolizer::go
