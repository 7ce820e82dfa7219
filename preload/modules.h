// Modules: which mapped file a pc belongs to, and its record in the table, written when a stack first needs
// it.
#pragma once
#include <dlfcn.h>

#include "preload/cfi.h"
#include "preload/table_view.h"

namespace unfreed::preload {

void reset_modules(Table* table);

// What the loader knows of the code at `lookup_pc`, without its lock (_dl_find_object): false for code that
// it did not load. `object` is for rules; `*number` is 1 + the module's index in the table, 0 when the table
// has no room.
bool find_module(Table* table, uint64_t lookup_pc, CodeObject* object, uint32_t* number);

}
