// The checked build (libunfreed_preload_checked.so) unwinds every allocation afresh with libunwind too and
// compares.
#pragma once
#include "preload/stack_cache.h"
#include "preload/trie.h"

namespace unfreed::preload {

struct Thread;

#ifdef UNFREED_CHECKED
void check_against_oracle(Thread* thread, Table* table, const Place& at, NodeId leaf);
#else
inline void check_against_oracle(Thread*, Table*, const Place&, NodeId) {}
#endif

}
