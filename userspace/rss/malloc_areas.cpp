#include "userspace/rss/malloc_areas.h"

#include <algorithm>
#include <map>

namespace unfreed::rss {
namespace {

constexpr std::uint64_t kHeapBytes = 64ull << 20;  // HEAP_MAX_SIZE
constexpr std::uint64_t kIsMapped = 2;             // the only flag of such a block
constexpr std::uint64_t kFlags = 7;

struct HeapInfo {
    std::uint64_t arena, previous, size, protected_size;
};

bool may_be_malloc(const Mapping& mapping) {
    return !mapping.is_file() && mapping.writable() && !mapping.shared() &&
           (mapping.name.empty() || mapping.name.starts_with("[anon: glibc: malloc"));
}

bool is_heap(const HeapInfo& info, std::uint64_t at) {
    const std::uint64_t arena_offset = info.arena % kHeapBytes;  // after heap_info: 32 bytes, since 2.35 48
    return (arena_offset == 0x20 || arena_offset == 0x30) && info.previous % kHeapBytes == 0 &&
           (info.previous == 0) == (info.arena / kHeapBytes == at / kHeapBytes) && info.size > 0 &&
           info.size <= info.protected_size && info.protected_size <= kHeapBytes &&
           info.protected_size % kPageBytes == 0;
}

// Blocks with mappings of their own, one after the other: neighbours are one mapping for the kernel.
void add_large_blocks(const LiveProcess& process, const Mapping& mapping, std::vector<Claim>& claims) {
    struct {
        std::uint64_t before, size;
    } header;
    for (std::uint64_t at = mapping.start; at < mapping.end;) {
        if (!process.read(at, std::as_writable_bytes(std::span(&header, 1)))) {
            at += kPageBytes;  // freed since the mappings were read
            continue;
        }
        const std::uint64_t size = header.size & ~kFlags;
        if (header.before != 0 || (header.size & kFlags) != kIsMapped || size == 0 ||
            size % kPageBytes != 0 || size > mapping.end - at)
            return;
        claims.push_back({at, at + size, {Kind::kMallocLarge, 0, {}}});
        at += size;
    }
}

}  // namespace

std::vector<Claim> malloc_areas(const LiveProcess& process, const std::vector<Mapping>& mappings) {
    std::vector<Claim> claims;
    std::map<std::uint64_t, unsigned> arenas;  // the arena's address -> its number
    for (const Mapping& mapping : mappings) {
        if (!may_be_malloc(mapping)) continue;
        bool holds_heap = false;
        for (std::uint64_t at = (mapping.start + kHeapBytes - 1) / kHeapBytes * kHeapBytes; at < mapping.end;
             at += kHeapBytes) {
            HeapInfo info{};
            if (!process.read(at, std::as_writable_bytes(std::span(&info, 1))) || !is_heap(info, at))
                continue;
            const auto number = static_cast<unsigned>(arenas.size() + 1);
            const auto arena = arenas.try_emplace(info.arena, number).first;
            const std::uint64_t end = std::min(at + info.protected_size, mapping.end);  // it may have grown
            claims.push_back({at, end, {Kind::kMallocArena, arena->second, {}}});
            holds_heap = true;
        }
        if (!holds_heap) add_large_blocks(process, mapping, claims);
    }
    return claims;
}

}  // namespace unfreed::rss
