#include "preload/mat_shape.h"

namespace unfreed::preload {
namespace {

// The leaf that `stack` is, or is inside of; 0: it makes no sense.
NodeId leaf_of(const uf_node* nodes, NodeId stack) {
    while (nodes[stack].pc >= UF_PC_EXTENT) stack = nodes[stack].caller;
    return nodes[stack].pc < UF_FUNCTION_COUNT ? stack : 0;
}

bool goes_through(const uf_node* nodes, NodeId leaf, uint64_t return_address) {
    for (NodeId id = nodes[leaf].caller; id != 0; id = nodes[id].caller)
        if ((nodes[id].pc & UF_PC_ADDRESS) == return_address) return true;
    return false;
}

NodeId inside_of(Table* table, NodeId leaf, const MatShape& shape) {
    NodeId id = leaf;
    for (uint32_t i = 0; i < shape.dimensions && id != 0; i++)
        id = child_of(table, id, UF_PC_EXTENT | static_cast<uint32_t>(shape.extents[i]));
    return id == 0 ? 0 : child_of(table, id, UF_PC_TYPE | shape.dimensions << 16 | shape.type);
}

}

Reshaped reshape_block(Table* table, uint64_t address, uint64_t bytes, const MatShape& shape,
                       uint64_t return_address) {
    if (address >> UF_ADDRESS_BITS != 0) return {};
    uint64_t* at = find_cell(table, address);
    uint64_t cell = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0;
    if (cell == 0 || (cell >> UF_STACK_BITS & ((1u << UF_START_BITS) - 1)) != start_in_window(address))
        return {};
    uint64_t size = cell >> (64 - UF_SIZE_BITS);
    if (size == UF_SIZE_ESCAPE) {
        const uint64_t* next = find_cell(table, address + (1ull << cell_shift));
        size = next ? __atomic_load_n(next, __ATOMIC_RELAXED) >> 1 : 0;
    }
    constexpr uint64_t kStack = (1ull << UF_STACK_BITS) - 1;
    auto before = static_cast<NodeId>(cell & kStack);
    NodeId leaf = leaf_of(table->nodes(), before);
    if (size != bytes || leaf == 0 || !goes_through(table->nodes(), leaf, return_address)) return {};
    NodeId after = inside_of(table, leaf, shape);
    if (after == 0) return {};
    __atomic_store_n(at, (cell & ~kStack) | after, __ATOMIC_RELEASE);
    return {before, after};
}

}
