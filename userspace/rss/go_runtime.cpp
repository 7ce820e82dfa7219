#include "userspace/rss/go_runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "userspace/rss/go_module.h"
#include "userspace/rss/go_spans.h"
#include "userspace/rss/live_value.h"

namespace unfreed::rss {
namespace {

constexpr std::uint64_t kArenaBytes = 64ull << 20;                 // heapArenaBytes, linux/amd64
constexpr std::uint64_t kArenaBaseOffset = 0xffff800000000000ull;  // arenaBaseOffset, amd64
constexpr std::uint64_t kSpanPage = 8192;                          // _PageSize
constexpr std::uint64_t kSpanInUse = 1, kSpanManual = 2;           // mSpanState
constexpr std::size_t kMostSpans = 1u << 26;
constexpr std::size_t kLongestList = 1u << 20;  // of records in a linked list

// Where the heap lies in programs whose records cannot be read: mallocinit (malloc.go) asks for addresses
// from 0x00c0<<32 upwards on amd64, and the kernel gives them.
constexpr GoRuntime::Area kHeapHint{0xc000000000, 0xc000000000 + (1ull << 40)};

bool touch(const GoRuntime::Area& area, const Mapping& mapping) {
    return area.start < mapping.end && mapping.start < area.end;
}

struct Slice {
    std::uint64_t array, length, capacity;
};
Slice slice(const LiveValue& value) {
    return {value["array"].number(), value["len"].number(), value["cap"].number()};
}

// Deltas of three generations; the whole is their sum (consistentHeapStats, mstats.go).
GoStatistics read_statistics(const LiveUnit& runtime) {
    const LiveValue stats = runtime.variable("runtime.memstats")["heapStats"]["stats"];
    const auto sum = [&](const char* member) {
        std::uint64_t total = 0;
        for (std::uint64_t i = 0; i < stats.element_count(); ++i) total += stats.element(i)[member].number();
        return total;
    };
    GoStatistics statistics;
    statistics.heap_in_use = sum("inHeap");
    statistics.stacks = sum("inStacks");
    statistics.heap_released = sum("released");
    const std::uint64_t busy =
        statistics.heap_in_use + statistics.stacks + sum("inWorkBufs") + sum("inPtrScalarBits");
    const std::uint64_t committed = sum("committed");
    statistics.heap_idle = committed > busy ? committed - busy : 0;
    return statistics;
}

void read_arenas(const LiveProcess& process, const LiveValue& heap, GoRuntime& go) {
    const LiveValue list = heap[heap.has("allArenas") ? "allArenas" : "heapArenas"];
    const LiveValue indexes = list["array"];
    const std::uint64_t count = list["len"].number();
    const std::uint64_t map = heap["arenas"].element(0).number();
    for (std::uint64_t i = 0; i < count && i < kMostSpans; ++i) {
        const std::uint64_t index = indexes.element(i).number();
        const std::uint64_t base = index * kArenaBytes + kArenaBaseOffset;
        go.arenas.push_back({base, base + kArenaBytes});
        if (const auto record = process.read<std::uint64_t>(map + index * sizeof(std::uint64_t)))
            go.records.push_back({*record, *record + 1});
    }
}

// Spans of buffers that the collector works with.
std::unordered_set<std::uint64_t> work_spans(const LiveUnit& runtime) {
    std::unordered_set<std::uint64_t> spans;
    const LiveValue lists = runtime.variable("runtime.work")["wbufSpans"];
    for (const char* list : {"free", "busy"}) {
        LiveValue span = lists[list]["first"];
        while (span.number() != 0 && spans.size() < kLongestList && spans.insert(span.number()).second)
            span = span.pointee()["next"];
    }
    return spans;
}

// `manual`: what spans are that are not in use by the heap, those of `work` aside.
void add_spans(const LiveProcess& process, const SpanList& list, const SpanLayout& layout,
               const std::unordered_set<std::uint64_t>& work, Kind manual, GoRuntime& go) {
    const auto column = [&](std::uint64_t offset) {
        std::vector<std::uint64_t> addresses(list.spans);
        for (std::uint64_t& address : addresses) address += offset;
        return process.read_words(addresses);
    };
    const auto starts = column(layout.start);
    const auto pages = column(layout.pages);
    const auto states = column(layout.state);
    for (std::size_t i = 0; i < list.spans.size(); ++i) {
        if (!starts[i] || !pages[i] || !states[i]) continue;
        const std::uint64_t state = *states[i] & 0xff;
        if (state != kSpanInUse && state != kSpanManual) continue;
        const Kind kind = state == kSpanInUse         ? Kind::kGoHeapInUse
                          : work.count(list.spans[i]) ? Kind::kGoMetadata
                                                      : manual;
        const std::uint64_t bytes = *pages[i] * kSpanPage;
        const bool inside =
            std::any_of(go.arenas.begin(), go.arenas.end(), [&](const GoRuntime::Area& arena) {
                return *starts[i] >= arena.start && *starts[i] < arena.end;
            });
        if (inside && bytes != 0 && *starts[i] + bytes > *starts[i])
            go.claims.push_back({*starts[i], *starts[i] + bytes, {kind, 0, {}}});
    }
    go.records.push_back({list.array, list.array + list.capacity * sizeof(std::uint64_t)});
    go.spans_known = true;
}

void read_spans(const LiveProcess& process, const LiveUnit& runtime, const LiveValue& heap, GoRuntime& go) {
    const LiveValue all = heap["allspans"];
    const Slice of = slice(all);
    if (of.length == 0 || of.length > kMostSpans) throw Unknown("its list of spans does not make sense");
    SpanList list{of.array, of.capacity, std::vector<std::uint64_t>(of.length)};
    if (!process.read(of.array, std::as_writable_bytes(std::span(list.spans))))
        throw Unknown("its list of spans could not be read");
    const LiveValue first = all["array"].element(0).pointee();
    const auto offset = [&](const char* member) { return first[member].address() - first.address(); };
    add_spans(process, list, {offset("startAddr"), offset("npages"), offset("state")}, work_spans(runtime),
              Kind::kGoStacks, go);
}

// Of a program without DWARF.
void find_and_add_spans(const LiveProcess& process, const std::vector<Mapping>& mappings,
                        const GoModule& module, GoRuntime& go) {
    const std::string version = go_version_of(module.path);
    const auto layout = span_layout(version);
    if (!layout)
        throw Unknown(version.empty() ? "its version of Go is not told"
                                      : "records of " + version + " are not known without DWARF");
    go.arenas = {kHeapHint};
    add_spans(process, find_spans(process, mappings, module, *layout), *layout, {}, Kind::kGoStacksAndWork,
              go);
}

// persistentalloc's chunks, the page allocator's summaries and bitmaps.
void read_records(const LiveProcess& process, const LiveUnit& runtime, const LiveValue& heap, GoRuntime& go) {
    std::uint64_t chunk = runtime.variable("runtime.persistentChunks").number();
    for (std::size_t i = 0; chunk != 0 && i < kLongestList; ++i) {
        go.records.push_back({chunk, chunk + 1});
        chunk = process.read<std::uint64_t>(chunk).value_or(0);
    }
    const LiveValue pages = heap["pages"];
    const LiveValue summary = pages["summary"];
    for (std::uint64_t level = 0; level < summary.element_count(); ++level) {
        const Slice of = slice(summary.element(level));
        go.records.push_back({of.array, of.array + of.capacity * sizeof(std::uint64_t)});
    }
    const LiveValue chunks = pages["chunks"];
    std::vector<std::uint64_t> bitmaps(chunks.element_count());
    if (process.read(chunks.address(), std::as_writable_bytes(std::span(bitmaps))))
        for (const std::uint64_t at : bitmaps)
            if (at != 0) go.records.push_back({at, at + 1});
}

std::string megabytes(std::uint64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

std::string in_words(const GoStatistics& is) {
    return fmt::format(
        "Go's own statistics: heap {} in use, {} idle and kept, {} idle and returned; stacks {}",
        megabytes(is.heap_in_use), megabytes(is.heap_idle), megabytes(is.heap_released),
        megabytes(is.stacks));
}

}  // namespace

std::optional<Part> GoRuntime::part_of(const Mapping& mapping) const {
    if (mapping.is_file() || mapping.shared()) return std::nullopt;
    const bool unnamed = mapping.name.empty() || mapping.name.starts_with("[anon: Go");
    const auto touches = [&](const Area& area) { return touch(area, mapping); };
    if (!unnamed) return std::nullopt;
    if (std::any_of(arenas.begin(), arenas.end(), touches))
        return Part{spans_known ? Kind::kGoHeapIdle : Kind::kGoHeap, 0, {}};
    if (std::any_of(records.begin(), records.end(), touches) || mapping.name.starts_with("[anon: Go"))
        return Part{Kind::kGoMetadata, 0, {}};
    return std::nullopt;
}

GoRuntime look_at_go(const LiveProcess& process, const std::vector<Mapping>& mappings) {
    GoRuntime go;
    const auto module = find_go_module(process.pid(), mappings);
    if (!module) return go;
    const std::string who = "Go, " + module->name + ": ";
    try {
        const LiveUnit runtime(process, module->path, module->bias, "runtime");
        const LiveValue heap = runtime.variable("runtime.mheap_");
        read_arenas(process, heap, go);
        read_spans(process, runtime, heap, go);
        go.statistics = read_statistics(runtime);
        go.notes.push_back(in_words(*go.statistics));
        read_records(process, runtime, heap, go);
        return go;
    } catch (const Unknown& why) {
        if (go.spans_known) {
            go.notes.push_back(who + "the runtime's own records are not known: " + why.what());
            return go;
        }
        go = GoRuntime();
        go.notes.push_back(who + "the runtime's own records and statistics are not known: " + why.what());
    }
    try {
        find_and_add_spans(process, mappings, *module, go);
    } catch (const Unknown& why) {
        go.notes.push_back(who + "what of the heap is in use is not known: " + why.what());
        go.claims.clear();
        go.arenas = {kHeapHint};
    }
    return go;
}

}  // namespace unfreed::rss
