#include "preload/record.h"

namespace unfreed::preload {
namespace {

// 0: not sampled after all.
NodeId leaf_of_sample(Thread* thread, Table* table, uint64_t size, const Place& at) {
    uint64_t mean = table->header()->sample_bytes;
    if (!draw_next(size, mean)) return 0;
    NodeId leaf = capture(thread, table, at);
    uint64_t objects = objects_of_sample(size, mean);
    count(thread, leaf, objects, bytes_of_sample(objects, size));
    return leaf;
}

// The stack of an allocation that is to be recorded, counted as made; 0: not recorded (counted, or not
// sampled).
NodeId leaf_for(Table* table, uint64_t size, const Place& at) {
    if (!__atomic_load_n(&table->header()->recording, __ATOMIC_RELAXED)) {
        stop_session();
        return 0;
    }
    Thread* thread = enter_thread(table);
    if (!thread) return 0;
    NodeId leaf;
    if (gate.sampled != nullptr) {
        leaf = leaf_of_sample(thread, table, size, at);
    } else {
        leaf = capture(thread, table, at);
        count(thread, leaf, 1, size);
    }
    leave_thread(thread);
    return leaf;
}

}

__attribute__((noinline)) void record_unusual_allocation(void* block, uint64_t size, Place at) {
    Table* table = open_table();
    if (!table) return;
    if (block == nullptr || is_inner_call(at.pc)) {
        // A sample point among bytes that the program did not get.
        if (gate.sampled != nullptr) draw_next(0, table->header()->sample_bytes);
        return;
    }
    NodeId leaf = leaf_for(table, size, at);
    if (leaf == 0) return;
    if (gate.sampled != nullptr) note_sampled(table, address_of(block));
    add_block(table, address_of(block), size, leaf);
}

}
