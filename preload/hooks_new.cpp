// Hooks of C++'s allocation functions. The C++ runtime's own go on to malloc, where the block is recorded
// with the operator as its first frame: then these only forward (a tail call, so that they are in no stack).
// An allocator that brings its own (tcmalloc, jemalloc, mimalloc) is recorded here, since its operators never
// reach our malloc.
#include "preload/late.h"
#include "preload/real.h"
#include "preload/record.h"

using namespace unfreed::preload;

namespace {

enum Kind : uint32_t { kUnknown, kForward, kRecord };

// Per operator: libraries define some and leave the others to the C++ runtime, whose others then call those.
__attribute__((noinline)) Kind find_kind(const void* real_operator, uint32_t* kind) {
    Kind found = in_cxx_runtime(real_operator) ? kForward : kRecord;
    if (found == kRecord) add_inner_shim();
    __atomic_store_n(kind, found, __ATOMIC_RELAXED);
    return found;
}

inline bool records(const void* real_operator, uint32_t* kind) {
    uint32_t known = __atomic_load_n(kind, __ATOMIC_RELAXED);
    if (__builtin_expect(known == kUnknown, 0)) known = find_kind(real_operator, kind);
    return known == kRecord;
}

// The runtime asks malloc for 1 byte instead of 0, and rounds aligned sizes up; what counts is what the
// program asked for. The block is the caller's still, so the cell has no other writer.
__attribute__((noinline)) void correct_size(void* block, size_t size) {
    Table* table = block ? open_table() : nullptr;
    if (!table) return;
    Block recorded = take_block(table, address_of(block));
    if (recorded.cell == 0) return;
    auto leaf = static_cast<NodeId>(recorded.cell & ((1u << UF_STACK_BITS) - 1));
    add_block(table, address_of(block), size, leaf);
    if (table->header()->sample_bytes != 0) return;
    if (Thread* thread = enter_thread(table)) {
        count(thread, leaf, 0, size - recorded.size);
        leave_thread(thread);
    }
}

struct Nothrow;

}

#define UF_CALLER reinterpret_cast<uint64_t>(__builtin_return_address(0))

// `parameters` and `arguments` without parentheses around them; the size is the first argument. `rounded`:
// the runtime asks malloc for more than that.
#define UF_NEW(identifier, symbol, parameters, arguments, rounded)                                  \
    extern "C" __attribute__((visibility("default"))) void* uf_##identifier parameters asm(symbol); \
    static Late<void * parameters> real_##identifier{symbol, nullptr};                              \
    static uint32_t kind_##identifier = kUnknown;                                                   \
    extern "C" void* uf_##identifier parameters {                                                   \
        auto* function = real_##identifier.get(UF_CALLER);                                          \
        bool forwards = !records(reinterpret_cast<const void*>(function), &kind_##identifier);      \
        if (forwards && __builtin_expect(!(rounded), 1)) return function arguments;                 \
        bool unsampled = !forwards && is_unsampled(size);                                           \
        void* block = function arguments;                                                           \
        if (unsampled) return block;                                                                \
        if (forwards)                                                                               \
            correct_size(block, size);                                                              \
        else                                                                                        \
            record_allocation(block, size, UF_PLACE(identifier));                                   \
        return block;                                                                               \
    }

#define UF_DELETE(identifier, symbol, parameters, arguments)                                       \
    extern "C" __attribute__((visibility("default"))) void uf_##identifier parameters asm(symbol); \
    static Late<void parameters> real_##identifier{symbol, nullptr};                               \
    static uint32_t kind_##identifier = kUnknown;                                                  \
    extern "C" void uf_##identifier parameters {                                                   \
        auto* function = real_##identifier.get(UF_CALLER);                                         \
        if (!records(reinterpret_cast<const void*>(function), &kind_##identifier))                 \
            return function arguments;                                                             \
        record_free(block, UF_CALLER);                                                             \
        function arguments;                                                                        \
        asm volatile(""); /* not a jump: see add_inner_shim() */                                   \
    }

UF_NEW(new, "_Znwm", (size_t size), (size), size == 0)
UF_NEW(new_array, "_Znam", (size_t size), (size), size == 0)
UF_NEW(new_nothrow, "_ZnwmRKSt9nothrow_t", (size_t size, const Nothrow* tag), (size, tag), size == 0)
UF_NEW(new_array_nothrow, "_ZnamRKSt9nothrow_t", (size_t size, const Nothrow* tag), (size, tag), size == 0)
UF_NEW(new_aligned, "_ZnwmSt11align_val_t", (size_t size, size_t alignment), (size, alignment),
       size == 0 || (size & (alignment - 1)) != 0)
UF_NEW(new_array_aligned, "_ZnamSt11align_val_t", (size_t size, size_t alignment), (size, alignment),
       size == 0 || (size & (alignment - 1)) != 0)
UF_NEW(new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
       (size_t size, size_t alignment, const Nothrow* tag), (size, alignment, tag),
       size == 0 || (size & (alignment - 1)) != 0)
UF_NEW(new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
       (size_t size, size_t alignment, const Nothrow* tag), (size, alignment, tag),
       size == 0 || (size & (alignment - 1)) != 0)

UF_DELETE(delete, "_ZdlPv", (void* block), (block))
UF_DELETE(delete_array, "_ZdaPv", (void* block), (block))
UF_DELETE(delete_nothrow, "_ZdlPvRKSt9nothrow_t", (void* block, const Nothrow* tag), (block, tag))
UF_DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", (void* block, const Nothrow* tag), (block, tag))
UF_DELETE(delete_sized, "_ZdlPvm", (void* block, size_t size), (block, size))
UF_DELETE(delete_array_sized, "_ZdaPvm", (void* block, size_t size), (block, size))
UF_DELETE(delete_aligned, "_ZdlPvSt11align_val_t", (void* block, size_t alignment), (block, alignment))
UF_DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t", (void* block, size_t alignment), (block, alignment))
UF_DELETE(delete_sized_aligned, "_ZdlPvmSt11align_val_t", (void* block, size_t size, size_t alignment),
          (block, size, alignment))
UF_DELETE(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", (void* block, size_t size, size_t alignment),
          (block, size, alignment))
UF_DELETE(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t",
          (void* block, size_t alignment, const Nothrow* tag), (block, alignment, tag))
UF_DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t",
          (void* block, size_t alignment, const Nothrow* tag), (block, alignment, tag))
