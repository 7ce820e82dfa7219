// Hooks of the mapping functions (domain mmap): see regions.h for what counts and in which order.
#include <sys/mman.h>

#include <cstdarg>

#include "preload/late.h"
#include "preload/record.h"
#include "preload/regions.h"
#include "preload/visibility.h"

using namespace unfreed::preload;

namespace {

Late<void*(void*, size_t, int, int, int, off_t)> real_mmap{"mmap", nullptr};
Late<void*(void*, size_t, int, int, int, off_t)> real_mmap64{"mmap64", nullptr};
Late<int(void*, size_t)> real_munmap{"munmap", nullptr};
Late<int(void*, size_t, int)> real_mprotect{"mprotect", nullptr};
Late<void*(void*, size_t, size_t, int, ...)> real_mremap{"mremap", nullptr};

// The table, unless the call is an allocator's own.
Table* table_for(uint64_t caller) {
    Table* table = open_table();
    return table && !is_inner_call(caller) ? table : nullptr;
}

void record_mapping(void* start, size_t length, int protection, const Place& at) {
    Table* table = start == MAP_FAILED ? nullptr : table_for(at.pc);
    if (!table) return;
    bool reserved = protection == PROT_NONE;
    NodeId leaf = leaf_for_mapping(table, length, at, !reserved);
    if (leaf != 0) add_region(table, address_of(start), length, leaf, reserved);
}

}

#define UF_CALLER reinterpret_cast<uint64_t>(__builtin_return_address(0))

UF_HOOK void* mmap(void* address, size_t length, int protection, int flags, int file, off_t offset) noexcept {
    void* start = real_mmap.get(UF_CALLER)(address, length, protection, flags, file, offset);
    record_mapping(start, length, protection, UF_PLACE(mmap));
    return start;
}

UF_HOOK void* mmap64(void* address, size_t length, int protection, int flags, int file,
                     off_t offset) noexcept {
    void* start = real_mmap64.get(UF_CALLER)(address, length, protection, flags, file, offset);
    record_mapping(start, length, protection, UF_PLACE(mmap64));
    return start;
}

UF_HOOK int munmap(void* address, size_t length) noexcept {
    Table* table = table_for(UF_CALLER);
    Removed removed{};
    if (table) remove_region(table, address_of(address), length, &removed);
    int result = real_munmap.get(UF_CALLER)(address, length);
    if (result != 0 && table) restore_regions(table, removed);
    return result;
}

UF_HOOK int mprotect(void* address, size_t length, int protection) noexcept {
    int result = real_mprotect.get(UF_CALLER)(address, length, protection);
    Table* table = result == 0 ? table_for(UF_CALLER) : nullptr;
    if (!table) return result;
    Changed changed = change_reservation(table, address_of(address), length, protection == PROT_NONE);
    if (changed.parts == 0 || protection == PROT_NONE) return result;
    if (Thread* thread = enter_thread(table)) {
        uint64_t unit = table->header()->sample_bytes != 0 ? UF_OBJECT_UNIT : 1;
        count(thread, changed.stack, changed.parts * unit, changed.bytes);
        leave_thread(thread);
    }
    return result;
}

UF_HOOK void* mremap(void* old_address, size_t old_length, size_t new_length, int flags, ...) noexcept {
    va_list rest;
    va_start(rest, flags);
    void* wanted = (flags & MREMAP_FIXED) ? va_arg(rest, void*) : nullptr;
    va_end(rest);
    Table* table = table_for(UF_CALLER);
    Removed removed{};
    bool keeps_old = old_length == 0 || (flags & 4 /* MREMAP_DONTUNMAP */) != 0;
    if (table && !keeps_old) remove_region(table, address_of(old_address), old_length, &removed);
    void* start = real_mremap.get(UF_CALLER)(old_address, old_length, new_length, flags, wanted);
    if (!table) return start;
    if (start == MAP_FAILED)
        restore_regions(table, removed);
    else if (keeps_old || removed.count != 0)
        record_mapping(start, new_length,
                       removed.count != 0 && removed.part[0].epoch == UF_EPOCH_RESERVED ? PROT_NONE : 1,
                       UF_PLACE(mremap));
    return start;
}
