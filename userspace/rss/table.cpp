#include "userspace/rss/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace unfreed::rss {
namespace {

constexpr std::size_t kMostNumbered = 8;  // rows of one kind, arenas or call paths; the rest is one row

std::string name_of(const Part& part) {
    switch (part.kind) {
        case Kind::kMallocLive:
        case Kind::kMallocFree:
        case Kind::kMallocArena:
            return text(part.kind) +
                   (part.number == 0 ? ", main heap" : fmt::format(", arena {}", part.number));
        case Kind::kTraced:
            return (part.name == "opencv" ? "OpenCV" : part.name) + ", " + text(part.kind);
        default:
            return part.name.empty() ? text(part.kind) : part.name;
    }
}

bool is_numbered(Kind kind) {
    return kind == Kind::kTracedMapping || kind == Kind::kMallocLive || kind == Kind::kMallocFree ||
           kind == Kind::kMallocArena;
}

std::uint64_t size_of(const MemoryRow& row) {
    return row.resident + row.swapped;
}

// All parts of one kind: the largest, and a row for the others together.
void add_rows(Kind kind, std::vector<MemoryRow> rows, MemoryTable& table) {
    if (is_numbered(kind) && rows.size() > kMostNumbered) {
        std::stable_sort(rows.begin(), rows.end(),
                         [](const MemoryRow& a, const MemoryRow& b) { return size_of(a) > size_of(b); });
        MemoryRow others{fmt::format("{}, {} others", text(kind), rows.size() - kMostNumbered + 1), 0, 0, 0};
        for (std::size_t i = kMostNumbered - 1; i < rows.size(); ++i) {
            others.resident += rows[i].resident;
            others.swapped += rows[i].swapped;
        }
        rows.resize(kMostNumbered - 1);
        rows.push_back(others);
    }
    table.rows.insert(table.rows.end(), rows.begin(), rows.end());
}

}  // namespace

std::string text(Kind kind) {
    switch (kind) {
        case Kind::kGoHeapInUse:
            return "Go heap, in use";
        case Kind::kGoHeapIdle:
            return "Go heap, idle, not returned";
        case Kind::kGoHeap:
            return "Go heap, in use or idle";
        case Kind::kGoStacks:
            return "Go stacks";
        case Kind::kGoStacksAndWork:
            return "Go stacks and collector's buffers";
        case Kind::kGoMetadata:
            return "Go runtime's own records";
        case Kind::kTraced:
            return "live, as traced";
        case Kind::kTracedRounding:
            return "malloc, headers and rounding of these";
        case Kind::kTracedMapping:
            return "mmap, as traced";
        case Kind::kMallocLive:
            return "malloc, live";
        case Kind::kMallocLarge:
            return "malloc, live, blocks with own mappings";
        case Kind::kMallocFree:
            return "malloc, free";
        case Kind::kMallocCached:
            return "malloc, free, kept by threads (tcache)";
        case Kind::kMallocArena:
            return "malloc, live or free";
        case Kind::kMallocUntraced:
            return "malloc, live, from before tracing";
        case Kind::kThreadStacks:
            return "thread stacks";
        case Kind::kV8:
            return "V8";
        case Kind::kJit:
            return "code made at run time (JIT)";
        case Kind::kPartitionAlloc:
            return "PartitionAlloc";
        case Kind::kNamedAnonymous:
            return "named anonymous memory";
        case Kind::kAnonymous:
            return "anonymous mappings";
        case Kind::kPrivateFiles:
            return "files, private (code, data)";
        case Kind::kSharedFiles:
            return "files, shared";
        case Kind::kSharedMemory:
            return "shared memory";
        case Kind::kUnfreed:
            return "unfreed's own, only while it records";
        case Kind::kKernel:
            return "kernel's own (vdso)";
    }
    return {};
}

MemoryTable table(const std::vector<Measured>& processes) {
    MemoryTable table;
    const bool one = processes.size() == 1;
    std::map<Part, Amount> parts;
    for (const Measured& process : processes) {
        const std::string name = fmt::format("{} ({})", process.name, process.pid);
        Amount sum;
        for (const auto& [part, of] : process.parts) {
            parts[part] += of;
            sum += of;
        }
        if (one) {
            table.of = name;
            table.kernel = process.kernel_rss_and_swap;
        } else {
            table.processes.push_back({name, sum.pss, sum.swap_pss, 0});
        }
        for (const std::string& note : process.notes)
            table.notes.push_back(one ? note : fmt::format("{}: {}", name, note));
    }
    if (!one) table.of = fmt::format("{} processes, shared pages counted once", processes.size());
    for (auto at = parts.begin(); at != parts.end();) {
        const Kind kind = at->first.kind;
        std::vector<MemoryRow> rows;
        for (; at != parts.end() && at->first.kind == kind; ++at)
            rows.push_back({name_of(at->first), one ? at->second.rss : at->second.pss,
                            one ? at->second.swap : at->second.swap_pss,
                            kind == Kind::kTracedMapping ? at->first.number : 0});
        add_rows(kind, std::move(rows), table);
    }
    return table;
}

}  // namespace unfreed::rss
