// Modules: which mapped file a pc belongs to, and its record in the table, written when a stack first needs
// it.
#pragma once
#include <dlfcn.h>

#include "preload/cfi.h"
#include "preload/table_view.h"

namespace unfreed::preload {

void reset_modules(Table* table);

// Where the file that the loader found is mapped, from its first byte to its last. Linkers leave holes
// between segments (node, make and libtcmalloc have them); of such a file _dl_find_object tells the segment
// of the pc alone, which has neither the ELF header nor .eh_frame.
struct MappedFile {
    uint64_t start, end;
};
MappedFile mapped_file(const dl_find_object& found);

// What the loader knows of the code at `lookup_pc`, without its lock (_dl_find_object): false for code that
// it did not load. `object` is for rules; `*number` is 1 + the module's index in the table, 0 when the table
// has no room.
bool find_module(Table* table, uint64_t lookup_pc, CodeObject* object, uint32_t* number);

}
