// Mappings that the program made itself (domain mmap), in the table's region slots.
//
// Changes are few and each costs a system call anyway, so one lock is enough: a spinning one, taken with all
// signals held back, for a bounded time. A mapping leaves the table before munmap is called, since another
// thread may be given its addresses right after; it enters after mmap has answered. In the process, an index
// sorted by address finds what a range overlaps; the reader needs none.
//
// Not counted: what allocators map for themselves (inner_calls.h; glibc's never pass here), and memory that
// is mapped PROT_NONE to reserve addresses (UF_EPOCH_RESERVED), while no mprotect opens it.
#pragma once
#include "preload/table_view.h"

namespace unfreed::preload {

void reset_regions(Table* table);

// Mapped now; whatever was at these addresses is gone.
void add_region(Table* table, uint64_t start, uint64_t length, uint32_t stack, bool reserved);

// A range taken out, to be put back when the system call failed. Regions partly inside keep their outer
// parts.
struct Removed {
    static constexpr int kMax =
        8;  // more are put back as far as these go; nobody unmaps so many at once and fails
    int count;
    uf_region part[kMax];
};
void remove_region(Table* table, uint64_t start, uint64_t length, Removed* removed);
void restore_regions(Table* table, const Removed& removed);

// mprotect: the recorded parts of a range become reserved or in use. What became so, with the stack of the
// last part.
struct Changed {
    uint32_t stack;
    uint32_t parts;
    uint64_t bytes;
};
Changed change_reservation(Table* table, uint64_t start, uint64_t length, bool reserved);

}
