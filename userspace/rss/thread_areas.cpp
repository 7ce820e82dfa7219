#include "userspace/rss/thread_areas.h"

#include <algorithm>

namespace unfreed::rss {
namespace {

constexpr std::uint64_t kMostVariables = 16 << 10;
constexpr std::uint64_t kSearched = 64 << 10;  // of a mapping's upper end
constexpr std::size_t kWord = sizeof(std::uint64_t);

bool may_hold_thread(const Mapping& mapping) {
    return !mapping.is_file() && mapping.writable() && !mapping.shared() && mapping.rss != 0 &&
           (mapping.name.empty() || mapping.name.find("pthread stack") != std::string::npos);
}

// The upper end of a mapping: from its last page that is not there on. A read must not bring pages back.
std::vector<std::uint64_t> resident_end(const LiveProcess& process, const Mapping& mapping,
                                        std::uint64_t* start) {
    const std::uint64_t length = std::min(kSearched, mapping.end - mapping.start);
    const std::vector<PageState> pages = process.pages(mapping.end - length, mapping.end);
    const auto resident = std::find_if(pages.rbegin(), pages.rend(),
                                       [](PageState state) { return state != PageState::kResident; }) -
                          pages.rbegin();
    *start = mapping.end - static_cast<std::uint64_t>(resident) * kPageBytes;
    std::vector<std::uint64_t> words((mapping.end - *start) / kWord);
    if (!process.read(*start, std::as_writable_bytes(std::span(words)))) words.clear();
    return words;
}

}  // namespace

std::vector<std::uint64_t> words_of_threads(const LiveProcess& process,
                                            const std::vector<Mapping>& mappings) {
    std::vector<std::uint64_t> found;
    for (const Mapping& mapping : mappings) {
        if (!may_hold_thread(mapping)) continue;
        std::uint64_t start = 0;
        const std::vector<std::uint64_t> words = resident_end(process, mapping, &start);
        for (std::size_t i = 0; i + 2 < words.size(); ++i) {
            const std::uint64_t at = start + i * kWord;
            if (words[i] != at || words[i + 2] != at) continue;
            const std::size_t first = i - std::min(i, kMostVariables / kWord);
            found.insert(found.end(), words.begin() + static_cast<std::ptrdiff_t>(first),
                         words.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    return found;
}

}  // namespace unfreed::rss
