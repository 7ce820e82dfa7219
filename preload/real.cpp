#include "preload/real.h"

#include <dlfcn.h>
#include <link.h>

#include <cstring>

#include "preload/inner_calls.h"
#include "preload/system_call.h"

namespace unfreed::preload {

alignas(16) char arena[kArenaBytes];

namespace {

size_t arena_used = 0;

// Each block has its size in the 16 bytes before it. The arena is zeroed and used once.
void* arena_take(size_t bytes) {
    size_t rounded = (bytes + 15) & ~size_t{15};
    size_t at = __atomic_fetch_add(&arena_used, rounded + 16, __ATOMIC_RELAXED);
    if (rounded < bytes || at + rounded + 16 > kArenaBytes) return nullptr;
    memcpy(arena + at, &bytes, sizeof bytes);
    return arena + at + 16;
}

void* arena_malloc(size_t bytes) {
    return arena_take(bytes);
}
void* arena_calloc(size_t count, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? nullptr : arena_take(bytes);
}
void* arena_realloc(void* block, size_t bytes) {
    void* moved = arena_take(bytes);
    if (moved && block) {
        size_t before = arena_block_size(block);
        memcpy(moved, block, before < bytes ? before : bytes);
    }
    return moved;
}
void arena_free(void*) {}
int arena_posix_memalign(void** block, size_t, size_t) {
    *block = nullptr;
    return 12;  // ENOMEM: nothing that dlsym calls asks for alignment
}
void* arena_aligned(size_t, size_t) {
    return nullptr;
}
void* arena_paged(size_t) {
    return nullptr;
}

constexpr RealFunctions kArena{arena_malloc,  arena_calloc,  arena_realloc, arena_free, arena_posix_memalign,
                               arena_aligned, arena_aligned, arena_paged,   arena_paged};

void* first_malloc(size_t bytes) {
    return find_real_functions(), real.malloc(bytes);
}
void* first_calloc(size_t count, size_t size) {
    return find_real_functions(), real.calloc(count, size);
}
void* first_realloc(void* block, size_t bytes) {
    return find_real_functions(), real.realloc(block, bytes);
}
void first_free(void* block) {
    find_real_functions(), real.free(block);
}
int first_posix_memalign(void** block, size_t alignment, size_t bytes) {
    return find_real_functions(), real.posix_memalign(block, alignment, bytes);
}
void* first_aligned_alloc(size_t alignment, size_t bytes) {
    return find_real_functions(), real.aligned_alloc(alignment, bytes);
}
void* first_memalign(size_t alignment, size_t bytes) {
    return find_real_functions(), real.memalign(alignment, bytes);
}
void* first_valloc(size_t bytes) {
    return find_real_functions(), real.valloc(bytes);
}
void* first_pvalloc(size_t bytes) {
    return find_real_functions(), real.pvalloc(bytes);
}

template <class Function>
void find(Function** function, const char* name) {
    *function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

uint32_t shift_of_allocator = 3;

// glibc's malloc is in the libc that this library is bound to; any other has its own text, whose mmaps are
// inner calls.
void know_allocator() {
    dl_find_object allocator;
    dl_find_object libc;
    if (_dl_find_object(reinterpret_cast<void*>(real.malloc), &allocator) != 0) return;
    if (_dl_find_object(reinterpret_cast<void*>(&strlen), &libc) == 0 &&
        allocator.dlfo_map_start == libc.dlfo_map_start) {
        shift_of_allocator = 5;
        return;
    }
    add_inner_range(reinterpret_cast<uint64_t>(allocator.dlfo_map_start),
                    reinterpret_cast<uint64_t>(allocator.dlfo_map_end));
}

}

RealFunctions real{first_malloc,        first_calloc,   first_realloc, first_free,   first_posix_memalign,
                   first_aligned_alloc, first_memalign, first_valloc,  first_pvalloc};

size_t arena_block_size(const void* block) {
    size_t bytes;
    memcpy(&bytes, static_cast<const char*>(block) - 16, sizeof bytes);
    return bytes;
}

// Once, by the first thread: no second one is there before the program's first allocation.
void find_real_functions() {
    if (real.malloc != first_malloc) return;
    real = kArena;
    RealFunctions found;
    find(&found.malloc, "malloc");
    find(&found.calloc, "calloc");
    find(&found.realloc, "realloc");
    find(&found.free, "free");
    find(&found.posix_memalign, "posix_memalign");
    find(&found.aligned_alloc, "aligned_alloc");
    find(&found.memalign, "memalign");
    find(&found.valloc, "valloc");
    find(&found.pvalloc, "pvalloc");
    real = found;
    know_allocator();
}

uint32_t cell_shift_of_allocator() {
    return shift_of_allocator;
}

}
