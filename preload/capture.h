// Capture: from the place of an allocation to the id of its whole call path, at a cost of nanoseconds.
//
//   capture                 FAST  the same stack as last time at this place, or one seen before: compared
//   slot by slot
//     walk_stack            SLOW  by rules from the inside, until the thread's record of its last stack holds
//       step                      one frame by its 16-byte rule (walk.h)
//       child_of                  new frames into the trie (trie.h)
//     walk_whole_stack      RARE  frames that need all registers: a full walk (full_walk.h)
//
// Why a remembered answer is right, and what could make it wrong, is told in stack_record.h.
#pragma once
#include "preload/thread.h"

namespace unfreed::preload {

// The leaf (contract/table.h: uf_node) of the call at `at`. Never fails: what cannot be walked is cut short,
// counted.
NodeId capture(Thread* thread, Table* table, const Place& at);

}
