#include "preload/trie.h"

namespace unfreed::preload {
namespace {

constexpr int kSiblings = 6;

// A node for (caller, pc), not yet reachable; 0: full.
NodeId new_node(Table* table, NodeId caller, uint64_t pc) {
    uint32_t* count = &table->header()->node_count;
    uint32_t id = __atomic_load_n(count, __ATOMIC_RELAXED);
    do {
        if (id >= UF_NODES) {
            table->lose(UF_LOSS_stack_table_full);
            return 0;
        }
    } while (!__atomic_compare_exchange_n(count, &id, id + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    uf_node* node = &table->nodes()[id];
    node->pc = pc;
    node->caller = caller;
    return id;
}

bool is_child(const uf_node* nodes, NodeId id, NodeId caller, uint64_t pc) {
    return nodes[id].pc == pc && nodes[id].caller == caller;
}

NodeId child_in_index(Table* table, NodeId caller, uint64_t pc, NodeId mine) {
    uf_node* nodes = table->nodes();
    uint32_t* index = table->node_index();
    for (uint64_t slot = mix(pc, caller);; slot++) {
        uint32_t* at = &index[slot & (UF_NODE_INDEX - 1)];
        NodeId there = __atomic_load_n(at, __ATOMIC_ACQUIRE);
        if (there == 0) {
            if (mine == 0) mine = new_node(table, caller, pc);
            // The index has twice as many slots as there are nodes: an empty one is always found.
            if (mine == 0 ||
                __atomic_compare_exchange_n(at, &there, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                return mine;
        }
        if (is_child(nodes, there, caller, pc)) return there;
    }
}

}

void reset_trie(Table* table) {
    table->header()->node_count = 1;
    for (uint32_t function = 1; function < UF_FUNCTION_COUNT; function++) child_of(table, 0, function);
}

NodeId child_of(Table* table, NodeId caller, uint64_t pc) {
    uf_node* nodes = table->nodes();
    NodeId mine = 0;
    NodeId first = __atomic_load_n(&nodes[caller].first_child, __ATOMIC_ACQUIRE);
    for (;;) {
        int siblings = 0;
        for (NodeId id = first; id != 0 && siblings < kSiblings; id = nodes[id].next_sibling, siblings++)
            if (nodes[id].pc == pc) return id;
        if (siblings == kSiblings) return child_in_index(table, caller, pc, mine);
        if (mine == 0) mine = new_node(table, caller, pc);
        if (mine == 0) return 0;
        nodes[mine].next_sibling = first;
        if (__atomic_compare_exchange_n(&nodes[caller].first_child, &first, mine, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return mine;
    }
}

}
