// Hooks of the C allocation functions (contract/functions.def). Each calls the real function and records
// around it: an allocation once the block is ours, a free while it still is.
#include <cerrno>

#include "preload/real.h"
#include "preload/record.h"
#include "preload/visibility.h"

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
    if (moved == nullptr && size != 0) restore_freed(block, old);
    record_allocation(moved, size, at);
    return moved;
}

// The parts of the hooks that record. They are jumped to, not called: the frame that they see is the hook's.
#define UF_RECORDS __attribute__((noinline))

UF_RECORDS void* recorded_malloc(size_t size) {
    void* block = real.malloc(size);
    record_allocation(block, size, UF_PLACE(malloc));
    return block;
}

UF_RECORDS void* recorded_calloc(size_t count, size_t size) {
    void* block = real.calloc(count, size);
    record_allocation(block, count * size, UF_PLACE(calloc));
    return block;
}

UF_RECORDS void* recorded_realloc(void* block, size_t size) {
    return reallocate(block, size, UF_PLACE(realloc), [&] { return real.realloc(block, size); });
}

UF_RECORDS void recorded_free(void* block) {
    if (__builtin_expect(in_arena(block), 0)) return;
    record_free(block, reinterpret_cast<uint64_t>(__builtin_return_address(0)));
    real.free(block);
}

}
}

using namespace unfreed::preload;

UF_HOOK void* malloc(size_t size) {
    if (is_unsampled(size)) return real.malloc(size);
    return recorded_malloc(size);
}

UF_HOOK void free(void* block) {
    if (is_unsampled_block(block)) return real.free(block);
    return recorded_free(block);
}

UF_HOOK void* calloc(size_t count, size_t size) {
    if (is_unsampled(count * size)) return real.calloc(count, size);
    return recorded_calloc(count, size);
}

UF_HOOK void* realloc(void* block, size_t size) {
    if (is_unsampled(size) && is_unsampled_block(block)) return real.realloc(block, size);
    return recorded_realloc(block, size);
}

UF_HOOK void* reallocarray(void* block, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return nullptr;
    }
    // Not the real one: glibc's would call our realloc.
    if (is_unsampled(bytes) && is_unsampled_block(block)) return real.realloc(block, bytes);
    return reallocate(block, bytes, UF_PLACE(reallocarray), [&] { return real.realloc(block, bytes); });
}

UF_HOOK int posix_memalign(void** block, size_t alignment, size_t size) {
    if (is_unsampled(size)) return real.posix_memalign(block, alignment, size);
    int error = real.posix_memalign(block, alignment, size);
    record_allocation(error == 0 ? *block : nullptr, size, UF_PLACE(posix_memalign));
    return error;
}

UF_HOOK void* aligned_alloc(size_t alignment, size_t size) {
    if (is_unsampled(size)) return real.aligned_alloc(alignment, size);
    void* block = real.aligned_alloc(alignment, size);
    record_allocation(block, size, UF_PLACE(aligned_alloc));
    return block;
}

UF_HOOK void* memalign(size_t alignment, size_t size) {
    if (is_unsampled(size)) return real.memalign(alignment, size);
    void* block = real.memalign(alignment, size);
    record_allocation(block, size, UF_PLACE(memalign));
    return block;
}

UF_HOOK void* valloc(size_t size) {
    if (is_unsampled(size)) return real.valloc(size);
    void* block = real.valloc(size);
    record_allocation(block, size, UF_PLACE(valloc));
    return block;
}

UF_HOOK void* pvalloc(size_t size) {
    if (is_unsampled(size)) return real.pvalloc(size);
    void* block = real.pvalloc(size);
    record_allocation(block, size, UF_PLACE(pvalloc));
    return block;
}
