// The functions that the hooks stand in front of, as the dynamic linker would have bound them without us.
//
// The allocator's are found at the first call of any hook, and finding them may itself allocate (dlsym): such
// calls, made before anything is known, are served from a small arena that is never given back. All others
// are found at their first use (late.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "preload/visibility.h"

namespace unfreed::preload {

struct RealFunctions {
    void* (*malloc)(size_t);
    void* (*calloc)(size_t, size_t);
    void* (*realloc)(void*, size_t);
    void (*free)(void*);
    int (*posix_memalign)(void**, size_t, size_t);
    void* (*aligned_alloc)(size_t, size_t);
    void* (*memalign)(size_t, size_t);
    void* (*valloc)(size_t);
    void* (*pvalloc)(size_t);
};

// Every pointer is callable from the start: at first they find the real ones and go on there.
extern UF_HIDDEN RealFunctions real;

// Once; later calls do nothing.
void find_real_functions();

// Blocks of the arena: theirs is no free, and they were never recorded.
constexpr size_t kArenaBytes = 64 << 10;
extern UF_HIDDEN char arena[kArenaBytes];
inline bool in_arena(const void* block) {
    return static_cast<size_t>(static_cast<const char*>(block) - arena) < kArenaBytes;
}
size_t arena_block_size(const void* block);

// log2 of the bytes of address space per cell of the live table that this process's allocator needs: 5 for
// glibc's malloc, whose blocks start 32 bytes apart at least, 3 for the others (jemalloc, tcmalloc, mimalloc:
// 8 bytes).
uint32_t cell_shift_of_allocator();

}
