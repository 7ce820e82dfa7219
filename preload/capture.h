// Capture: from the place of an allocation to the id of its whole call path, at a cost of nanoseconds.
//
//   capture                 FAST  the same stack as the last times at this place: compared slot by slot
//     find_or_walk          FAST  another stack of this place that was seen before: found by its contents,
//     compared
//       walk_stack          SLOW  by rules from the inside, until the thread's record of its last stack holds
//         step_by_sp, step        one frame by its 16-byte rule (walk.h)
//         child_of                new frames into the trie (trie.h)
//       walk_whole_stack    RARE  frames that need all registers: a full walk (full_walk.h)
//
// Why a remembered answer is right, and what could make it wrong, is told in stack_record.h.
#pragma once
#include "preload/checked.h"
#include "preload/thread.h"

namespace unfreed::preload {

// The two below: the leaf (contract/table.h: uf_node) of the call at `at`. They never fail: what cannot be
// walked is cut short, counted.
NodeId find_or_walk(Thread* thread, Table* table, Place at);

inline __attribute__((always_inline)) NodeId capture(Thread* thread, Table* table, const Place& at) {
    StackCache& cache = thread->cache;
    LastAt last_at = cache.last_at[place_of(at)];
    const CachedStack& last = entry_at(cache, last_at);
    NodeId leaf;
    if (__builtin_expect(last_at.steady && is_key(last, at) && all_slots_hold(last, at), 1)) {
        thread->steady_hits++;
        leaf = last.leaf;
    } else {
        leaf = find_or_walk(thread, table, at);
    }
    check_against_oracle(thread, table, at, leaf);
    return leaf;
}

}
