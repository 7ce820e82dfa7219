// The table of where memory is, for people.
#pragma once
#include <iosfwd>

#include "userspace/snapshot/memory_table.h"

namespace unfreed {

// Writes nothing for a table without rows and notes.
void write_memory(const MemoryTable& table, std::ostream& out);

}  // namespace unfreed
