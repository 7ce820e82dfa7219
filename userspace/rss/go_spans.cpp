#include "userspace/rss/go_spans.h"

#include <fcntl.h>
#include <gelf.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "userspace/process/descriptor.h"
#include "userspace/process/elf_section.h"
#include "userspace/rss/live_value.h"

namespace unfreed::rss {
namespace {

constexpr std::uint64_t kSpanPage = 8192;         // _PageSize
constexpr std::uint64_t kMostPages = 1ull << 27;  // 1 TiB
constexpr std::uint64_t kMostSpans = 1ull << 26;
constexpr std::uint64_t kStates = 3;  // dead, in use, manual
constexpr std::size_t kProbed = 64;   // spans that tell a list from other slices

// The section's first bytes, from the file: the process may have changed what it has in memory.
std::string section_start(const std::string& path, std::string_view wanted, std::size_t bytes) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
    const auto section = find_section(elf, [&](std::string_view name) { return name == wanted; });
    elf_end(elf);
    std::string found(section ? std::min<std::size_t>(bytes, section->sh_size) : 0, '\0');
    const ssize_t got =
        section ? pread(file.get(), found.data(), found.size(), static_cast<off_t>(section->sh_offset)) : 0;
    found.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return found;
}

struct Head {  // of an mspan, up to its number of pages
    std::uint64_t next, previous, list, start, pages;
};

bool is_span(const LiveProcess& process, std::uint64_t address) {
    const auto head = address % 8 == 0 ? process.read<Head>(address) : std::nullopt;
    // One that was given back keeps its old numbers, or has none.
    return head && head->start % kSpanPage == 0 && head->pages <= kMostPages && head->start >> 47 == 0 &&
           (head->pages != 0) == (head->start != 0);
}

bool are_spans(const LiveProcess& process, const std::vector<std::uint64_t>& spans) {
    const std::size_t step = std::max<std::size_t>(spans.size() / kProbed, 1);
    bool any = false;
    for (std::size_t i = 0; i < spans.size(); i += step) {
        if (!is_span(process, spans[i])) return false;
        any = any || process.read<Head>(spans[i])->pages != 0;
    }
    return any;
}

bool states_are_known(const LiveProcess& process, const std::vector<std::uint64_t>& spans,
                      const SpanLayout& layout) {
    std::vector<std::uint64_t> places(spans);
    for (std::uint64_t& place : places) place += layout.state;
    const auto states = process.read_words(places);
    return std::all_of(states.begin(), states.end(),
                       [](const auto& state) { return state && (*state & 0xff) < kStates; });
}

}  // namespace

std::string go_version_of(const std::string& path) {
    constexpr std::string_view kMagic = "\xff Go buildinf:";
    constexpr std::size_t kFlags = 15, kStrings = 32;
    constexpr unsigned kInline = 2;
    const std::string info = section_start(path, ".go.buildinfo", 256);
    if (!info.starts_with(kMagic) || info.size() <= kStrings ||
        (static_cast<unsigned>(info[kFlags]) & kInline) == 0)
        return {};
    const auto length = static_cast<unsigned char>(info[kStrings]);  // a varint, of one byte
    return length < 0x80 ? info.substr(kStrings + 1, length) : std::string();
}

std::optional<SpanLayout> span_layout(std::string_view version) {
    if (!version.starts_with("go1.")) return std::nullopt;
    unsigned minor = 0;
    std::from_chars(version.data() + 4, version.data() + version.size(), minor);
    SpanLayout layout;
    if (minor >= 18 && minor <= 20)
        layout.state = 99;
    else if (minor == 21)  // pinnerBits came before it
        layout.state = 107;
    else if (minor >= 22 && minor <= 24)  // freeindex and nelems became 16 bits
        layout.state = 99;
    else
        return std::nullopt;
    return layout;
}

SpanList find_spans(const LiveProcess& process, const std::vector<Mapping>& mappings, const GoModule& module,
                    const SpanLayout& layout) {
    std::optional<SpanList> found;
    std::uint64_t end = 0;
    for (const Mapping& mapping : mappings) {
        const bool bss = mapping.start == end && mapping.name.empty();
        if (!mapping.writable() || !(mapping.name == module.name || bss)) continue;
        end = mapping.end;
        std::vector<std::uint64_t> words((mapping.end - mapping.start) / sizeof(std::uint64_t));
        if (!process.read(mapping.start, std::as_writable_bytes(std::span(words)))) continue;
        for (std::size_t i = 0; i + 2 < words.size(); ++i) {
            const std::uint64_t array = words[i], length = words[i + 1], capacity = words[i + 2];
            // It is grown by whole pages from the kernel (recordspan).
            if (array == 0 || array % kPageBytes != 0 || array >> 47 != 0 || length == 0 ||
                length > capacity || capacity > kMostSpans)
                continue;
            SpanList list{array, capacity, std::vector<std::uint64_t>(length)};
            if (!process.read(array, std::as_writable_bytes(std::span(list.spans))) ||
                !are_spans(process, list.spans))
                continue;
            if (found) throw Unknown("more than one list looks like the runtime's list of spans");
            found = std::move(list);
        }
    }
    if (!found) throw Unknown("the runtime's list of spans was not found");
    if (!states_are_known(process, found->spans, layout))
        throw Unknown("its spans are not as this version of Go has them");
    return *std::move(found);
}

}  // namespace unfreed::rss
