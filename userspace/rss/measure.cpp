#include "userspace/rss/measure.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "userspace/error.h"
#include "userspace/rss/go_runtime.h"
#include "userspace/rss/malloc_areas.h"

namespace unfreed::rss {
namespace {

// The value of a line of /proc/PID/status, in bytes.
std::uint64_t status_bytes(const std::string& status, const std::string& name) {
    const auto at = status.find("\n" + name + ":");
    return at == std::string::npos ? 0
                                   : std::strtoull(status.c_str() + at + name.size() + 2, nullptr, 10) * 1024;
}

std::string first_line(std::string text) {
    text.resize(std::min(text.find('\n'), text.size()));
    return text;
}

std::string smaps_of(const LiveProcess& process) {
    const std::string who = "process " + std::to_string(process.pid());
    const std::string folder = "/proc/" + std::to_string(process.pid());
    if (access(folder.c_str(), F_OK) != 0)
        throw Error(who, "there is none", "see ps for the processes that are there");
    std::string text = process.proc_file("smaps");
    if (!text.empty()) return text;
    if (access((folder + "/smaps").c_str(), R_OK) != 0 || process.proc_file("environ").empty()) {
        if (process.proc_file("cmdline").empty())
            throw Error(who, "it has no memory of its own", "kernel threads and ended processes have none");
        throw Error(who, "its memory may not be looked at", "run as its user, or as root");
    }
    throw Error(who, "it has no memory of its own", "kernel threads and ended processes have none");
}

// All claims, sorted; of two that overlap the one that starts first.
std::vector<Claim> apart(std::vector<Claim> claims, const std::vector<Claim>& more) {
    claims.insert(claims.end(), more.begin(), more.end());
    std::sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) { return a.start < b.start; });
    std::uint64_t end = 0;
    std::erase_if(claims, [&](const Claim& claim) {
        const bool overlaps = claim.start < end;
        end = std::max(end, claim.end);
        return overlaps;
    });
    return claims;
}

}  // namespace

Part part_of(const Mapping& mapping, const Mapping* before,
             const std::vector<std::uint64_t>& stack_pointers) {
    const std::string& name = mapping.name;
    const auto has = [&](std::string_view word) { return name.find(word) != std::string::npos; };
    if (name == "[heap]") return {Kind::kMallocMain, 0, {}};
    if (name.starts_with("[stack")) return {Kind::kThreadStacks, 0, {}};
    if (mapping.shared() || has("/SYSV") || name.starts_with("/memfd:"))
        return {has("/SYSV") || name.starts_with("/memfd:") || name.starts_with("/dev/shm/") ||
                        name.starts_with("/dev/zero") || name.starts_with("[anon_shmem")
                    ? Kind::kSharedMemory
                    : Kind::kSharedFiles,
                0,
                {}};
    if (mapping.is_file()) return {Kind::kPrivateFiles, 0, {}};
    if (name.starts_with("[v") || name.starts_with("[uprobes")) return {Kind::kKernel, 0, {}};
    if (name.starts_with("[anon:")) {
        if (has("partition_alloc")) return {Kind::kPartitionAlloc, 0, {}};
        if (has("v8")) return {Kind::kV8, 0, {}};
        if (has("pthread stack")) return {Kind::kThreadStacks, 0, {}};
        return {Kind::kNamedAnonymous, 0, name};
    }
    // What a program's file does not hold of its data (bss) follows the file's own mapping.
    if (before != nullptr && before->end == mapping.start && before->is_file() && before->writable())
        return {Kind::kPrivateFiles, 0, {}};
    const bool is_stack = std::any_of(stack_pointers.begin(), stack_pointers.end(), [&](std::uint64_t sp) {
        return sp >= mapping.start && sp < mapping.end;
    });
    return {is_stack ? Kind::kThreadStacks : Kind::kAnonymous, 0, {}};
}

void add_pages(const Mapping& mapping, const Part& whole, const std::vector<Claim>& claims,
               const std::vector<PageState>& pages, std::map<Part, Amount>& parts) {
    Amount rest{mapping.rss, mapping.pss, mapping.swap, mapping.swap_pss};
    const auto share = [](std::uint64_t part, std::uint64_t all, std::uint64_t of) {
        return all == 0 ? 0
                        : static_cast<std::uint64_t>(static_cast<double>(of) * static_cast<double>(part) /
                                                     static_cast<double>(all));
    };
    for (const Claim& claim : claims) {
        const std::uint64_t start = std::max(claim.start, mapping.start);
        const std::uint64_t end = std::min(claim.end, mapping.end);
        if (start >= end || pages.empty()) continue;
        std::uint64_t resident = 0, swapped = 0;
        for (std::uint64_t at = start; at < end; at += kPageBytes) {
            const PageState state = pages[(at - mapping.start) / kPageBytes];
            resident += state == PageState::kResident ? kPageBytes : 0;
            swapped += state == PageState::kSwapped ? kPageBytes : 0;
        }
        // The kernel's sums are the truth: pages that came since then are not counted twice.
        resident = std::min(resident, rest.rss);
        swapped = std::min(swapped, rest.swap);
        Amount amount{resident, share(resident, rest.rss, rest.pss), swapped,
                      share(swapped, rest.swap, rest.swap_pss)};
        parts[claim.part] += amount;
        rest.rss -= amount.rss;
        rest.pss -= amount.pss;
        rest.swap -= amount.swap;
        rest.swap_pss -= amount.swap_pss;
    }
    if (rest.rss != 0 || rest.swap != 0) parts[whole] += rest;
}

Measured measure(pid_t pid) {
    const LiveProcess process(pid);
    const std::vector<Mapping> mappings = parse_smaps(smaps_of(process));
    const std::string status = process.proc_file("status");
    const std::vector<std::uint64_t> stack_pointers = process.stack_pointers();

    Measured measured;
    measured.pid = pid;
    measured.name = first_line(process.proc_file("comm"));
    measured.kernel_rss_and_swap = status_bytes(status, "VmRSS") + status_bytes(status, "VmSwap");

    const GoRuntime go = look_at_go(process, mappings);
    const std::vector<Claim> claims = apart(go.claims, malloc_areas(process, mappings));
    measured.notes = go.notes;

    for (std::size_t i = 0; i < mappings.size(); ++i) {
        const Mapping& mapping = mappings[i];
        Part whole = part_of(mapping, i == 0 ? nullptr : &mappings[i - 1], stack_pointers);
        if (const auto part = go.part_of(mapping)) whole = *part;
        const auto first = std::partition_point(
            claims.begin(), claims.end(), [&](const Claim& claim) { return claim.end <= mapping.start; });
        const auto last = std::partition_point(first, claims.end(),
                                               [&](const Claim& claim) { return claim.start < mapping.end; });
        const std::vector<Claim> here(first, last);
        add_pages(mapping, whole, here,
                  here.empty() ? std::vector<PageState>{} : process.pages(mapping.start, mapping.end),
                  measured.parts);
    }
    return measured;
}

}  // namespace unfreed::rss
