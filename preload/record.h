// Recording: what a hook does around the real function. FAST throughout; errno is never touched.
#pragma once
#include "preload/capture.h"
#include "preload/inner_calls.h"
#include "preload/live.h"

namespace unfreed::preload {

// The place that a hook was called from; only in the hook itself, which keeps a frame pointer because of it.
#define UF_PLACE(function)                                                                 \
    ::unfreed::preload::place_at(static_cast<const uint64_t*>(__builtin_frame_address(0)), \
                                 UF_FUNCTION_##function)

inline __attribute__((always_inline)) Place place_at(const uint64_t* frame, uf_function function) {
    return Place{frame[1], reinterpret_cast<uint64_t>(frame + 2), frame[0], static_cast<uint8_t>(function)};
}

inline uint64_t address_of(const void* block) {
    return reinterpret_cast<uint64_t>(block);
}

// One instruction each: a handler that interrupts this thread adds before or after, never in between.
inline void count(Thread* thread, NodeId leaf, uint64_t objects, uint64_t bytes) {
    uf_counter* counter = &thread->counters[leaf];
    if (__builtin_expect(thread->shared_counters, 0)) {
        __atomic_fetch_add(&counter->objects, objects, __ATOMIC_RELAXED);
        __atomic_fetch_add(&counter->bytes, bytes, __ATOMIC_RELAXED);
        return;
    }
    asm("addq %1, %0" : "+m"(counter->objects) : "er"(objects));
    asm("addq %1, %0" : "+m"(counter->bytes) : "er"(bytes));
}

// The stack of an allocation that is to be recorded, counted as made; 0: not recorded (counted, or not
// sampled).
inline __attribute__((always_inline)) NodeId leaf_for(Table* table, uint64_t size, const Place& at) {
    if (__builtin_expect(!__atomic_load_n(&table->header()->recording, __ATOMIC_RELAXED), 0)) {
        stop_session();
        return 0;
    }
    Thread* thread = enter_thread(table);
    if (__builtin_expect(!thread, 0)) return 0;
    NodeId leaf = 0;
    uint64_t mean = table->header()->sample_bytes;
    if (mean == 0) {
        leaf = capture(thread, table, at);
        count(thread, leaf, 1, size);
    } else if (is_sampled(&thread->sampler, size) && draw_next(&thread->sampler, size, mean)) {
        leaf = capture(thread, table, at);
        uint64_t objects = objects_of_sample(size, mean);
        count(thread, leaf, objects, bytes_of_sample(objects, size));
    }
    leave_thread(thread);
    return leaf;
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

inline __attribute__((always_inline)) void record_allocation(void* block, uint64_t size, const Place& at) {
    if (__builtin_expect(block == nullptr, 0)) return;
    Table* table = open_table();
    if (!table || is_inner_call(at.pc)) return;
    NodeId leaf = leaf_for(table, size, at);
    if (leaf == 0) return;
    if (__builtin_expect(table->header()->sample_bytes != 0, 0)) note_sampled(table, address_of(block));
    add_block(table, address_of(block), size, leaf);
}

// Before the real function gives the block back: from then on another thread may get it.
inline __attribute__((always_inline)) Block record_free(void* block, uint64_t return_address) {
    if (__builtin_expect(block == nullptr, 0)) return Block{};
    Table* table = open_table();
    if (!table || is_inner_call(return_address)) return Block{};
    if (table->header()->sample_bytes != 0)
        return may_be_sampled(table, address_of(block)) ? take_block(table, address_of(block)) : Block{};
    Block taken = take_block(table, address_of(block));
    if (__builtin_expect(taken.cell == 0, 0) && !forked) table->lose(UF_LOSS_free_unknown);
    return taken;
}

}
