// Recording: what a hook does around the real function. FAST throughout; errno is never touched.
#pragma once
#include "preload/capture.h"
#include "preload/inner_calls.h"
#include "preload/live.h"
#include "preload/sampling.h"

namespace unfreed::preload {

// The place that a hook was called from; only in the hook itself, which keeps a frame pointer because of it.
#define UF_PLACE(function)                                                                 \
    ::unfreed::preload::place_at(static_cast<const uint64_t*>(__builtin_frame_address(0)), \
                                 UF_FUNCTION_##function)

inline __attribute__((always_inline)) Place place_at(const uint64_t* frame, uf_function function) {
    return Place{frame[1], reinterpret_cast<uint64_t>(frame + 2), frame[0], static_cast<uint8_t>(function)};
}

// One instruction each: a handler that interrupts this thread adds before or after, never in between.
inline void count_in_own(uf_counter* counter, uint64_t objects, uint64_t bytes) {
    asm("addq %1, %0" : "+m"(counter->objects) : "er"(objects));
    asm("addq %1, %0" : "+m"(counter->bytes) : "er"(bytes));
}

inline void count(Thread* thread, NodeId leaf, uint64_t objects, uint64_t bytes) {
    uf_counter* counter = &thread->counters[leaf];
    if (__builtin_expect(thread->shared_counters, 0)) {
        __atomic_fetch_add(&counter->objects, objects, __ATOMIC_RELAXED);
        __atomic_fetch_add(&counter->bytes, bytes, __ATOMIC_RELAXED);
        return;
    }
    count_in_own(counter, objects, bytes);
}

// A mapping's stack; mappings are few and large, so they are never sampled. 0: not recorded.
inline NodeId leaf_for_mapping(Table* table, uint64_t size, const Place& at, bool counted) {
    if (!__atomic_load_n(&table->header()->recording, __ATOMIC_RELAXED)) {
        stop_session();
        return 0;
    }
    Thread* thread = enter_thread(table);
    if (!thread) return 0;
    NodeId leaf = capture(thread, table, at);
    if (counted) count(thread, leaf, table->header()->sample_bytes != 0 ? UF_OBJECT_UNIT : 1, size);
    leave_thread(thread);
    return leaf;
}

// FAST. With sampling nearly every call is none to record: asked first by every hook, which then goes on to
// the real function without a frame of its own.
inline bool is_unsampled(uint64_t size) {
    return gate.sampled != nullptr && !is_sampled(size);
}
inline bool is_unsampled_block(const void* block) {
    uint8_t* sampled = gate.sampled;
    return sampled != nullptr && !may_be_sampled(sampled, address_of(block));
}

// SLOW. record_allocation() where anything is not as usual: no session yet, sampling, a call inside of
// another allocation function, a handler that interrupted a hook.
void record_unusual_allocation(void* block, uint64_t size, Place at);

// FAST. For a size that is not is_unsampled().
inline __attribute__((always_inline)) void record_allocation(void* block, uint64_t size, const Place& at) {
    Table* table = __atomic_load_n(&gate.table, __ATOMIC_ACQUIRE);
    Thread* thread = current_thread;
    if (__builtin_expect(!block || !table || !thread, 0)) return record_unusual_allocation(block, size, at);
    uint64_t unusual = uint64_t{unusual_state(thread)} | (thread->generation ^ current_generation()) |
                       address_of(gate.sampled) | inner_range_count() |
                       (__atomic_load_n(&table->header()->recording, __ATOMIC_RELAXED) ^ 1);
    if (__builtin_expect(unusual != 0, 0)) return record_unusual_allocation(block, size, at);
    claim_thread(thread);
    NodeId leaf = capture(thread, table, at);
    count_in_own(&thread->counters[leaf], 1, size);
    leave_thread(thread);
    add_block(table, address_of(block), size, leaf);
}

// Before the real function gives the block back: from then on another thread may get it.
inline __attribute__((always_inline)) Block record_free(void* block, uint64_t return_address) {
    if (__builtin_expect(block == nullptr, 0)) return Block{};
    Table* table = open_table();
    if (!table || is_inner_call(return_address)) return Block{};
    Block taken = take_block(table, address_of(block));
    if (__builtin_expect(gate.sampled != nullptr, 0)) {
        if (taken.cell != 0) forget_sampled(table, address_of(block));
        return taken;
    }
    if (__builtin_expect(taken.cell == 0, 0) && !forked) table->lose(UF_LOSS_free_unknown);
    return taken;
}

// The real function refused to change the block that record_free() took.
inline void restore_freed(void* block, const Block& taken) {
    Table* table = open_table();
    if (!table || taken.cell == 0) return;
    if (gate.sampled != nullptr) note_sampled(table, address_of(block));
    restore_block(table, address_of(block), taken);
}

}
