// Hooks of OpenCV's allocation functions: domain opencv. The aligned block inside of theirs is not counted
// again.
#include "preload/late.h"
#include "preload/record.h"

using namespace unfreed::preload;

extern "C" __attribute__((visibility("default"))) void* uf_cv_fastMalloc(size_t size) asm(
    "_ZN2cv10fastMallocEm");
extern "C" __attribute__((visibility("default"))) void uf_cv_fastFree(void* block) asm("_ZN2cv8fastFreeEPv");

namespace {

Late<void*(size_t)> real_fast_malloc{"_ZN2cv10fastMallocEm", nullptr};
Late<void(void*)> real_fast_free{"_ZN2cv8fastFreeEPv", nullptr};
bool inside_known = false;

// Once both are known their code is an inside; a second thread that does it too adds nothing.
__attribute__((noinline)) void know_inside(uint64_t caller) {
    add_inner_function(reinterpret_cast<const void*>(real_fast_malloc.get(caller)));
    add_inner_function(reinterpret_cast<const void*>(real_fast_free.get(caller)));
    add_inner_shim();
    __atomic_store_n(&inside_known, true, __ATOMIC_RELEASE);
}

inline void prepare(uint64_t caller) {
    if (__builtin_expect(!__atomic_load_n(&inside_known, __ATOMIC_ACQUIRE), 0)) know_inside(caller);
}

}

extern "C" __attribute__((visibility("default"))) void* uf_cv_fastMalloc(size_t size) asm(
    "_ZN2cv10fastMallocEm");
extern "C" void* uf_cv_fastMalloc(size_t size) {
    auto caller = reinterpret_cast<uint64_t>(__builtin_return_address(0));
    prepare(caller);
    bool unsampled = is_unsampled(size);
    void* block = real_fast_malloc.get(caller)(size);
    if (unsampled) return block;
    record_allocation(block, size, UF_PLACE(cv_fastMalloc));
    return block;
}

extern "C" void uf_cv_fastFree(void* block) {
    auto caller = reinterpret_cast<uint64_t>(__builtin_return_address(0));
    prepare(caller);
    record_free(block, caller);
    real_fast_free.get(caller)(block);
    asm volatile("");  // not a jump: see add_inner_shim()
}
