#include "symbolizer/go/inline_tree.h"

namespace unfreed::symbolizer::go {
namespace {

constexpr unsigned kInlineTreeIndex = 2;  // PCDATA_InlTreeIndex
constexpr unsigned kInlineTree = 3;       // FUNCDATA_InlTree
constexpr std::size_t kDeepest = 1000;    // a longer chain is a circle

struct EntryLayout {
    unsigned size, name, parent, start_line;  // bytes; start_line 0: it has none
};
constexpr EntryLayout kGo118{20, 12, 16, 0};
constexpr EntryLayout kGo120{16, 4, 8, 12};

}  // namespace

std::vector<InlinedCall> inlined_calls(const FileImage& image, const LineTable& table,
                                       std::uint64_t function_data, const LineTable::Function& function,
                                       std::uint64_t address) {
    const auto offset = table.function_data(function, kInlineTree);
    if (!offset) return {};
    const Bytes tree = image.from(function_data + *offset);
    const EntryLayout& layout = table.layout() == LineTable::Layout::kGo118 ? kGo118 : kGo120;
    std::vector<InlinedCall> calls;
    while (calls.size() < kDeepest) {
        const std::int32_t index = table.pc_data(function, kInlineTreeIndex, address);
        if (index < 0) return calls;
        const Bytes entry = tail(tree, static_cast<std::uint64_t>(index) * layout.size);
        const auto name = number_at<std::uint32_t>(entry, layout.name);
        const auto parent = number_at<std::uint32_t>(entry, layout.parent);
        if (!name || !parent) return {};
        InlinedCall call{*name, 0, function.entry + *parent};
        if (layout.start_line != 0)
            call.start_line = number_at<std::uint32_t>(entry, layout.start_line).value_or(0);
        calls.push_back(call);
        address = call.address;
    }
    return {};
}

bool holds_inline_trees(const FileImage& image, const LineTable& table, std::uint64_t function_data) {
    constexpr unsigned kEnough = 100;
    const EntryLayout& layout = table.layout() == LineTable::Layout::kGo118 ? kGo118 : kGo120;
    unsigned trees = 0;
    for (std::uint64_t i = 0; i < table.function_count() && trees < kEnough; ++i) {
        const auto function = table.function(i);
        const auto end = table.entry(i + 1);
        if (!function || !end) return false;
        const auto offset = table.function_data(*function, kInlineTree);
        if (!offset) continue;
        ++trees;
        const Bytes tree = image.from(function_data + *offset);
        const auto name = number_at<std::uint32_t>(tree, layout.name);
        const auto parent = number_at<std::uint32_t>(tree, layout.parent);
        if (!name || !parent || table.name(*name).empty() || *parent >= *end - function->entry) return false;
    }
    return true;
}

}  // namespace unfreed::symbolizer::go
