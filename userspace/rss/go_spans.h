// Spans of Go's heap in a program without DWARF: the runtime's list of all spans, found by what it is made
// of.
//
// Source: Go, src/runtime/mheap.go (mheap_.allspans, mspan). Where startAddr and npages lie in an mspan has
// not changed from 1.8 on; where its state lies is a table by version (GoLayout). The version is the
// program's own word (.go.buildinfo, debug/buildinfo/buildinfo.go). Never guessed: the list must be the only
// one in the program's data of which every record is a span, and every span's state must be one that there
// is.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/rss/go_module.h"
#include "userspace/rss/live_process.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

// Offsets in an mspan.
struct SpanLayout {
    std::uint64_t start = 24, pages = 32, state = 0;
};

struct SpanList {
    std::uint64_t array = 0, capacity = 0;
    std::vector<std::uint64_t> spans;  // addresses of mspans
};

// "go1.19.8" as .go.buildinfo has it; empty: it is not told (before 1.18, or by no Go of Google's).
std::string go_version_of(const std::string& path);

// No value: a version that is not in the table.
std::optional<SpanLayout> span_layout(std::string_view version);

// Unknown (live_value.h): there is no such list, or more than one.
SpanList find_spans(const LiveProcess& process, const std::vector<Mapping>& mappings, const GoModule& module,
                    const SpanLayout& layout);

}  // namespace unfreed::rss
