// Hooks of the C allocation functions (contract/functions.def). Each calls the real function and records
// around it: an allocation once the block is ours, a free while it still is.
#include <cerrno>

#include "preload/real.h"
#include "preload/record.h"

#define UF_HOOK extern "C" __attribute__((visibility("default")))

namespace unfreed::preload {
namespace {

// realloc takes the old block out before the real function may give it to another thread, and puts it back
// when that refused. `size` 0 frees: glibc answers null then, and so do the others here.
template <class Real>
inline __attribute__((always_inline)) void* reallocate(void* block, size_t size, const Place& at, Real call) {
    if (__builtin_expect(in_arena(block), 0)) {
        void* moved = real.malloc(size);
        size_t before = arena_block_size(block);
        if (moved) __builtin_memcpy(moved, block, before < size ? before : size);
        record_allocation(moved, size, at);
        return moved;
    }
    Block old = record_free(block, at.pc);
    void* moved = call();
    if (moved)
        record_allocation(moved, size, at);
    else if (Table* table = size != 0 ? open_table() : nullptr)
        restore_block(table, address_of(block), old);
    return moved;
}

}
}

using namespace unfreed::preload;

UF_HOOK void* malloc(size_t size) {
    void* block = real.malloc(size);
    record_allocation(block, size, UF_PLACE(malloc));
    return block;
}

UF_HOOK void free(void* block) {
    if (__builtin_expect(in_arena(block), 0)) return;
    record_free(block, reinterpret_cast<uint64_t>(__builtin_return_address(0)));
    real.free(block);
}

UF_HOOK void* calloc(size_t count, size_t size) {
    void* block = real.calloc(count, size);
    record_allocation(block, count * size, UF_PLACE(calloc));
    return block;
}

UF_HOOK void* realloc(void* block, size_t size) {
    return reallocate(block, size, UF_PLACE(realloc), [&] { return real.realloc(block, size); });
}

UF_HOOK void* reallocarray(void* block, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return nullptr;
    }
    // Not the real one: glibc's would call our realloc.
    return reallocate(block, bytes, UF_PLACE(reallocarray), [&] { return real.realloc(block, bytes); });
}

UF_HOOK int posix_memalign(void** block, size_t alignment, size_t size) {
    int error = real.posix_memalign(block, alignment, size);
    if (error == 0) record_allocation(*block, size, UF_PLACE(posix_memalign));
    return error;
}

UF_HOOK void* aligned_alloc(size_t alignment, size_t size) {
    void* block = real.aligned_alloc(alignment, size);
    record_allocation(block, size, UF_PLACE(aligned_alloc));
    return block;
}

UF_HOOK void* memalign(size_t alignment, size_t size) {
    void* block = real.memalign(alignment, size);
    record_allocation(block, size, UF_PLACE(memalign));
    return block;
}

UF_HOOK void* valloc(size_t size) {
    void* block = real.valloc(size);
    record_allocation(block, size, UF_PLACE(valloc));
    return block;
}

UF_HOOK void* pvalloc(size_t size) {
    void* block = real.pvalloc(size);
    record_allocation(block, size, UF_PLACE(pvalloc));
    return block;
}
