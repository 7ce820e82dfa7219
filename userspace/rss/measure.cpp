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

// The mappings, with what the kernel says in sum beside them: it counts apart from them, and both change
// while they are read. Of some tries the one in which they differ least, so that they are of one moment.
struct Mappings {
    std::vector<Mapping> all;
    std::uint64_t rss_and_swap = 0;
};
Mappings read_mappings(const LiveProcess& process) {
    constexpr int kTries = 8;
    constexpr std::uint64_t kAlike = 200;  // half a percent
    Mappings best;
    std::uint64_t least = UINT64_MAX;
    for (int i = 0; i < kTries && least > best.rss_and_swap / kAlike; ++i) {
        Mappings now{parse_smaps(smaps_of(process)), 0};
        const std::string status = process.proc_file("status");
        now.rss_and_swap = status_bytes(status, "VmRSS") + status_bytes(status, "VmSwap");
        std::uint64_t sum = 0;
        for (const Mapping& mapping : now.all) sum += mapping.rss + mapping.swap;
        const std::uint64_t apart = std::max(sum, now.rss_and_swap) - std::min(sum, now.rss_and_swap);
        if (apart >= least) continue;
        least = apart;
        best = std::move(now);
    }
    return best;
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

// glibc's own program break, and not another allocator's. It may have grown since the mappings were read.
bool holds_main_arena(const GlibcMalloc& malloc, const Mapping& mapping) {
    constexpr std::uint64_t kMostBytes = 1ull << 40;  // what malloc maps elsewhere lies farther away
    if (mapping.name != "[heap]" || malloc.arenas.empty() || malloc.arenas.front().top_bytes == 0)
        return false;
    const std::uint64_t top = malloc.arenas.front().free.back().start;
    return top >= mapping.start && top - mapping.start < kMostBytes;
}

constexpr std::uint64_t kChunkHeader = 16;  // before every block of glibc's, its second half at least

constexpr std::uint64_t round_up(std::uint64_t bytes, std::uint64_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Part part_of(const Mapping& mapping, const Mapping* before,
             const std::vector<std::uint64_t>& stack_pointers) {
    const std::string& name = mapping.name;
    const auto has = [&](std::string_view word) { return name.find(word) != std::string::npos; };
    if (name == "[heap]") return {Kind::kMallocArena, 0, {}};
    if (name.starts_with("[stack")) return {Kind::kThreadStacks, 0, {}};
    if (name.starts_with("/memfd:unfreed-table")) return {Kind::kUnfreed, 0, {}};
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
    if (is_stack) return {Kind::kThreadStacks, 0, {}};
    return {mapping.permissions.find('x') != std::string::npos ? Kind::kJit : Kind::kAnonymous, 0, {}};
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

void Measurement::add_area(const Mapping& mapping, const Part& whole, const std::vector<Claim>& claims) {
    if (mapping.is_file() || (mapping.rss == 0 && mapping.swap == 0)) return;
    std::uint64_t at = mapping.start;
    for (const Claim& claim : claims) {
        const std::uint64_t start = std::max(claim.start, mapping.start);
        const std::uint64_t end = std::min(claim.end, mapping.end);
        if (at < start) areas_.push_back({at, start, whole});
        areas_.push_back({start, end, claim.part});
        at = end;
    }
    if (at < mapping.end) areas_.push_back({at, mapping.end, whole});
}

Measurement::Measurement(pid_t pid) : process_(pid) {
    Mappings mappings = read_mappings(process_);
    mappings_ = std::move(mappings.all);
    measured_.kernel_rss_and_swap = mappings.rss_and_swap;
    const std::vector<std::uint64_t> stack_pointers = process_.stack_pointers();
    measured_.pid = pid;
    measured_.name = first_line(process_.proc_file("comm"));

    const GoRuntime go = look_at_go(process_, mappings_);
    const GlibcMalloc malloc = look_at_glibc_malloc(process_, mappings_);
    std::vector<Claim> malloc_claims = malloc_areas(process_, mappings_);
    const auto live_when_known = [&](Part& part) {
        if (part.kind == Kind::kMallocArena && !malloc.arenas.empty()) part.kind = Kind::kMallocLive;
    };
    for (Claim& claim : malloc_claims) live_when_known(claim.part);
    const std::vector<Claim> claims = apart(go.claims, malloc_claims);
    measured_.notes = go.notes;

    for (std::size_t i = 0; i < mappings_.size(); ++i) {
        const Mapping& mapping = mappings_[i];
        Part whole = part_of(mapping, i == 0 ? nullptr : &mappings_[i - 1], stack_pointers);
        if (holds_main_arena(malloc, mapping)) live_when_known(whole);
        if (const auto part = go.part_of(mapping)) whole = *part;
        const auto first = std::partition_point(
            claims.begin(), claims.end(), [&](const Claim& claim) { return claim.end <= mapping.start; });
        const auto last = std::partition_point(first, claims.end(),
                                               [&](const Claim& claim) { return claim.start < mapping.end; });
        const std::vector<Claim> here(first, last);
        add_pages(mapping, whole, here,
                  here.empty() ? std::vector<PageState>{} : process_.pages(mapping.start, mapping.end),
                  measured_.parts);
        add_area(mapping, whole, here);
    }
    split_.emplace(process_, areas_);
    take_out_free(malloc);
    check_it_is_there();
}

void Measurement::check_it_is_there() const {
    if (status_bytes(process_.proc_file("status"), "VmRSS") == 0)
        throw Error("process " + std::to_string(process_.pid()), "it ended while it was looked at",
                    "nothing is left of its memory");
}

void Measurement::take_out_free(const GlibcMalloc& malloc) {
    const auto take_out = [&](const FreeChunk& chunk, Kind kind, bool by_arena) {
        const Claim* const area = split_->area_of(chunk.start);
        if (area == nullptr || area->part.kind != Kind::kMallocLive) return;
        split_->move(area->part, {kind, by_arena ? area->part.number : 0, {}},
                     split_->count(chunk.start, chunk.bytes));
    };
    for (const MallocArena& arena : malloc.arenas)
        for (const FreeChunk& chunk : arena.free) take_out(chunk, Kind::kMallocFree, true);
    for (const FreeChunk& chunk : malloc.cached) take_out(chunk, Kind::kMallocCached, false);
    const bool of_interest =
        std::any_of(measured_.parts.begin(), measured_.parts.end(),
                    [](const auto& part) { return part.first.kind == Kind::kMallocArena; });
    if (of_interest && !malloc.unknown.empty())
        measured_.notes.push_back("malloc: what of it is live and what is free is not known: " +
                                  malloc.unknown);
}

void Measurement::add_block(std::uint64_t address, std::uint64_t bytes, double weight, std::size_t domain) {
    const std::vector<Claim>& areas = split_->areas();
    blocks_.resize(areas.size());
    const Claim* const area = split_->area_of(address);
    if (area == nullptr) return;
    Blocks& blocks = blocks_[static_cast<std::size_t>(area - areas.data())];
    if (blocks.asked.size() <= domain) blocks.asked.resize(domain + 1);
    const Split::Bytes asked = split_->count(address, bytes);
    blocks.asked[domain].add(asked, weight);

    const bool large = area->part.kind == Kind::kMallocLarge;
    if (!large && area->part.kind != Kind::kMallocLive) return;  // no glibc's, as far as is known
    const std::uint64_t start = address - kChunkHeader;
    const std::uint64_t end =
        large ? round_up(address + bytes, kPageBytes)
              : start + std::max(round_up(bytes + kChunkHeader / 2, kChunkHeader), 2 * kChunkHeader);
    const Split::Bytes taken = split_->count(start, end - start);
    blocks.beside.add(
        {std::max(taken.resident - asked.resident, 0.0), std::max(taken.swapped - asked.swapped, 0.0)},
        weight);
}

void Measurement::add_mapping(std::uint64_t start, std::uint64_t bytes, unsigned number) {
    const std::uint64_t end = start + bytes;
    const std::vector<Claim>& areas = split_->areas();
    for (std::size_t i = split_->first_behind(start); i < areas.size() && areas[i].start < end; ++i) {
        const Part& part = areas[i].part;
        if (part.kind != Kind::kAnonymous && part.kind != Kind::kNamedAnonymous && part.kind != Kind::kJit)
            continue;
        const std::uint64_t from = std::max(start, areas[i].start), to = std::min(end, areas[i].end);
        split_->move(part, {Kind::kTracedMapping, number, {}}, split_->count(from, to - from));
    }
}

Measured Measurement::finish(const std::vector<std::string>& domains) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        const Part& from = split_->areas()[i].part;
        for (std::size_t domain = 0; domain < blocks_[i].asked.size(); ++domain)
            split_->move(from, {Kind::kTraced, 0, domains.at(domain)}, blocks_[i].asked[domain]);
        split_->move(from, {Kind::kTracedRounding, 0, {}}, blocks_[i].beside);
    }
    split_->apply(measured_.parts);
    if (!blocks_.empty()) {
        Amount before;
        std::erase_if(measured_.parts, [&](const auto& part) {
            const bool live = part.first.kind == Kind::kMallocLive || part.first.kind == Kind::kMallocLarge;
            if (live) before += part.second;
            return live;
        });
        if (before.rss != 0 || before.swap != 0) measured_.parts[{Kind::kMallocUntraced, 0, {}}] = before;
    }
    return std::move(measured_);
}

Measured measure(pid_t pid) {
    return Measurement(pid).finish({});
}

}  // namespace unfreed::rss
