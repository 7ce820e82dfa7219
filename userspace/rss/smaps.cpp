#include "userspace/rss/smaps.h"

#include <charconv>
#include <optional>

namespace unfreed::rss {
namespace {

std::string_view next_line(std::string_view& text) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return line;
}

std::string_view next_word(std::string_view& line) {
    while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
    const std::string_view word = line.substr(0, line.find_first_of(" \t"));
    line.remove_prefix(word.size());
    return word;
}

std::optional<std::uint64_t> number(std::string_view digits, int base) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
}

// "5581d0-5582f0 rw-p 00000000 08:01 1234   /usr/bin/x"
std::optional<Mapping> parse_head(std::string_view line) {
    const std::string_view range = next_word(line);
    const auto dash = range.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto start = number(range.substr(0, dash), 16);
    const auto end = number(range.substr(dash + 1), 16);
    if (!start || !end || *start >= *end) return std::nullopt;
    Mapping mapping;
    mapping.start = *start;
    mapping.end = *end;
    mapping.permissions = next_word(line);
    mapping.offset = number(next_word(line), 16).value_or(0);
    next_word(line);  // device
    mapping.inode = number(next_word(line), 10).value_or(0);
    while (line.starts_with(' ')) line.remove_prefix(1);
    mapping.name = line;
    return mapping;
}

std::uint64_t* field(Mapping& mapping, std::string_view name) {
    if (name == "Rss:") return &mapping.rss;
    if (name == "Pss:") return &mapping.pss;
    if (name == "Swap:") return &mapping.swap;
    if (name == "SwapPss:") return &mapping.swap_pss;
    if (name == "LazyFree:") return &mapping.lazy_free;
    return nullptr;
}

}  // namespace

std::vector<Mapping> parse_smaps(std::string_view text) {
    std::vector<Mapping> mappings;
    while (!text.empty()) {
        std::string_view line = next_line(text);
        if (auto head = parse_head(line)) {
            mappings.push_back(*std::move(head));
            continue;
        }
        if (mappings.empty()) continue;
        const std::string_view name = next_word(line);
        if (std::uint64_t* const value = field(mappings.back(), name))
            *value = number(next_word(line), 10).value_or(0) * 1024;
    }
    return mappings;
}

}  // namespace unfreed::rss
