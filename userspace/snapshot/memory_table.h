// Where the memory of the traced processes is: one table that adds up to what the kernel says they have.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace unfreed {

struct MemoryRow {
    std::string name;
    std::uint64_t resident = 0, swapped = 0;  // bytes; of several processes: their proportional shares
    std::uint32_t stack = 0;                  // the Snapshot's call path that it belongs to; 0: of none
};

// No rows: there is no table, and the notes say why.
struct MemoryTable {
    std::string of;               // "service (4711)", "3 processes, shared pages counted once"
    std::vector<MemoryRow> rows;  // every page in exactly one
    std::uint64_t kernel = 0;     // VmRSS + VmSwap, of one process; 0: of several, shares have no such sum
    std::vector<MemoryRow> processes;  // of several: what each has
    std::vector<std::string> notes;
};

}  // namespace unfreed
