// The session: this process image's tie to the collector, which is the mapped table and nothing else.
//
// The gate is a page of its own that the kernel wipes in a forked child (MADV_WIPEONFORK), also after a raw
// clone that ran no atfork handler: so a child finds its gate closed and asks for a table of its own before
// it records anything, and never writes into its parent's. A vfork child shares the page with its parent, and
// its memory too.
#pragma once
#include "preload/table_view.h"
#include "preload/visibility.h"

namespace unfreed::preload {

struct alignas(4096) Gate {
    Table* table;      // null: closed. Set last (release) when a session starts
    uint8_t* sampled;  // Table::sampled() in a session that samples, else null. Set before `table`
    uint32_t state;    // SessionState; 0 in a wiped page
    // Changes whenever what threads remember may no longer hold: with every session, and when code is
    // unloaded.
    uint32_t generation;
};
extern UF_HIDDEN Gate gate;

inline uint32_t current_generation() {
    return __atomic_load_n(&gate.generation, __ATOMIC_ACQUIRE);
}
void code_was_unloaded();

// The table to record into, or null: no collector, stopped, refused, not yet. FAST when the gate is open.
Table* start_session();
inline Table* open_table() {
    Table* table = __atomic_load_n(&gate.table, __ATOMIC_ACQUIRE);
    if (__builtin_expect(table == nullptr, 0)) return start_session();
    return table;
}

// Does this image have memory of a parent that forked it? Its frees of that are no loss.
extern bool forked;

// The table's addresses in this process, from its start to its end; null: none. Also when the gate is closed.
char* mapped_table();

// The collector wants no more: closes the gate for good.
void stop_session();

}
