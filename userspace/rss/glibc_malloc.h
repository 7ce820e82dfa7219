// What of glibc malloc's memory lies free in a living process: read from malloc's own records there, its
// arenas' lists of free chunks and its threads' caches, without stopping the process.
//
// Source: glibc, malloc/malloc.c (struct malloc_state, struct malloc_chunk, tcache_perthread_struct,
// PROTECT_PTR), malloc/arena.c (struct heap_info); nptl/descr.h, sysdeps/x86_64/nptl/tls.h (tcbhead_t). The
// layout is that of 2.27 to 2.41 on x86-64.
//
// Never guessed: an arena counts only when all 127 of its lists, and the ring of arenas, close on themselves;
// a list must be the same from both sides. Another version, an arena that is not found, or lists that the
// process changes faster than they can be read, are told in `unknown`.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

struct FreeChunk {
    std::uint64_t start = 0, bytes = 0;  // header and all
};

struct MallocArena {
    std::uint64_t address = 0;       // of its struct malloc_state
    std::uint64_t system_bytes = 0;  // what it has from the kernel
    // What malloc_info and mallinfo2 call free (fordblks): in lists, and the rest at the end ("top").
    std::uint64_t listed_bytes = 0, top_bytes = 0;
    std::vector<FreeChunk> free;  // all of that
};

struct GlibcMalloc {
    std::vector<MallocArena> arenas;  // the main one first
    std::vector<FreeChunk> cached;    // freed, and kept by a thread for its next calls (tcache)
    std::uint64_t cached_bytes = 0;
    std::string unknown;  // why there are no arenas; empty when there are, or when glibc's malloc is not used
};

GlibcMalloc look_at_glibc_malloc(const LiveProcess& process, const std::vector<Mapping>& mappings);

}  // namespace unfreed::rss
