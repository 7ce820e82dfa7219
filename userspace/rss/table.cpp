#include "userspace/rss/table.h"

#include <fmt/format.h>

#include <cmath>

namespace unfreed::rss {
namespace {

std::string amount(std::uint64_t bytes) {
    constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
    return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, kUnits[unit]);
}

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

std::string line(const std::string& name, const std::string& a, const std::string& b, const std::string& c) {
    return fmt::format("{:<44}{:>12}{:>12}{:>12}\n", name, a, b, c);
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
        case Kind::kKernel:
            return "kernel's own (vdso)";
    }
    return {};
}

std::string table(const std::vector<Measured>& processes) {
    const bool one = processes.size() == 1;
    std::map<Part, Amount> parts;
    std::uint64_t kernel = 0;
    std::string out;
    for (const Measured& process : processes) {
        kernel += process.kernel_rss_and_swap;
        for (const auto& [part, of] : process.parts) parts[part] += of;
        if (one) out += fmt::format("{} ({})\n", process.name, process.pid);
    }
    if (!one) out += fmt::format("{} processes, shared pages counted once\n", processes.size());
    out += "\n" + line("", one ? "resident" : "PSS", "swapped", "together");
    Amount sum;
    for (const auto& [part, of] : parts) {
        sum += of;
        const std::uint64_t resident = one ? of.rss : of.pss, swapped = one ? of.swap : of.swap_pss;
        out += line(name_of(part), amount(resident), amount(swapped), amount(resident + swapped));
    }
    const std::uint64_t resident = one ? sum.rss : sum.pss, swapped = one ? sum.swap : sum.swap_pss;
    out += line("sum", amount(resident), amount(swapped), amount(resident + swapped));
    if (one) {
        const double off =
            kernel == 0
                ? 0
                : 100.0 * std::abs(static_cast<double>(resident + swapped) - static_cast<double>(kernel)) /
                      static_cast<double>(kernel);
        out += line("VmRSS + VmSwap, the kernel's own sum", "", "", amount(kernel));
        out += fmt::format("{:<68}{:>11.1f}%\n", "difference", off);
    } else {
        out += "\n";
        for (const Measured& process : processes) {
            Amount of;
            for (const auto& entry : process.parts) of += entry.second;
            out += line(fmt::format("{} ({})", process.name, process.pid), amount(of.pss),
                        amount(of.swap_pss), amount(of.pss + of.swap_pss));
        }
    }
    for (const Measured& process : processes)
        for (const std::string& note : process.notes) out += "\n" + note + "\n";
    return out;
}

}  // namespace unfreed::rss
