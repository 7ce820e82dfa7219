// Thread: what one thread remembers of the stacks it unwound, and its own counters. Only the thread itself
// touches it; a signal handler that interrupts the thread inside of a hook finds it busy and uses a second
// one, so that allocations in handlers are exact too.
#pragma once
#include "preload/rule.h"
#include "preload/session.h"
#include "preload/stack_cache.h"
#include "preload/stack_record.h"
#include "preload/trie.h"

namespace unfreed::preload {

// The rule of a pc with the module that the pc is in. key: pc, with UF_PC_EXACT for interrupted instructions.
struct KnownRule {
    uint64_t key;
    int32_t cfa_offset;
    int16_t rbp_offset;
    uint8_t cfa;
    uint8_t rbp;
    uint64_t node_pc;  // as the trie has it: key with the module's number
};

constexpr uint32_t kKnownRules = 8192;
constexpr uint32_t kKnownChildren = 2048;

struct KnownChild {
    uint64_t pc;
    NodeId caller, id;
};

// A goroutine's stack that was seen to be readable from `low` to its end. Go never unmaps stacks or the
// records of goroutines, it uses them again; so this holds while both ends do.
struct KnownGoStack {
    uint64_t goroutine, low, end;
};
constexpr uint32_t kKnownGoStacks = 64;

struct Thread {
    bool busy;             // a hook is at work with this; set and cleared by its own thread alone
    bool shared_counters;  // the slot belongs to several threads: add atomically
    uint32_t generation;   // of what is remembered (session.h); another one: forget
    uint32_t steady_hits;  // of the stack cache, in its window
    uint32_t session;      // whose table the counters are in
    uf_counter* counters;  // this thread's array in the table
    Thread* inner;         // for handlers that interrupt this one
    Thread* next_free;
    uint64_t stack_low, stack_top;  // [low, top) of the thread's own stack is known to be readable

    // From here on: what is remembered, dropped as a whole by giving its pages back (refresh).
    alignas(4096) StackRecord record;
    NewFrames new_frames;
    KnownRule rule[kKnownRules];
    KnownChild child[kKnownChildren];
    KnownGoStack go_stack[kKnownGoStacks];
    StackCache cache;
};

extern UF_HIDDEN __thread Thread* current_thread __attribute__((tls_model("initial-exec")));

// SLOW: the state to use when the thread has none yet or it is busy; null: none to be had (counted).
Thread* other_thread_state(Table* table);

// Drops what may no longer hold; takes a counter slot in a new session.
void refresh(Thread* thread, Table* table);

void reset_counter_slots();

// The state of this thread, not busy; release with leave_thread.
inline void claim_thread(Thread* thread) {
    thread->busy = true;
    asm volatile("" ::: "memory");  // a handler on this thread sees busy before any change
}

// Claims a state that is up to date; null: none to be had (counted).
inline Thread* enter_thread(Table* table) {
    Thread* thread = current_thread;
    if (thread == nullptr || thread->busy) {
        thread = other_thread_state(table);
        if (!thread) return nullptr;
    }
    claim_thread(thread);
    if (thread->generation != current_generation()) refresh(thread, table);
    return thread;
}

// Busy, or with counters of several threads: one load for both.
inline uint16_t unusual_state(const Thread* thread) {
    static_assert(offsetof(Thread, busy) == 0 && offsetof(Thread, shared_counters) == 1);
    uint16_t both;
    __builtin_memcpy(&both, thread, sizeof both);
    return both;
}

inline void leave_thread(Thread* thread) {
    asm volatile("" ::: "memory");
    thread->busy = false;
}

}
