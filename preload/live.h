// Live blocks: the shadow of the address space in the table (layout and fields: contract/table.h).
//
// Between malloc's return and free's entry a block has one owner, so every cell has one writer at a time and
// no lock is needed; cells are stored whole, so the collector's reads (any time) never see half of one. A
// kill between two stores leaves a block recorded or not recorded, never recorded wrongly.
#pragma once
#include "preload/table_view.h"

namespace unfreed::preload {

// log2 of the bytes per cell, fixed before the first session; see cell_shift_of_allocator() in real.h.
extern uint32_t cell_shift;

void reset_live(Table* table);

// SLOW: the number of the chunk for this part of the address space, made now; 0: the table is full.
uint32_t make_chunk(Table* table, uint64_t address);

// The address's cell, or null: no chunk there.
inline uint64_t* find_cell(Table* table, uint64_t address) {
    uint32_t chunk = __atomic_load_n(&table->directory()[address >> UF_DIRECTORY_SHIFT], __ATOMIC_ACQUIRE);
    if (chunk == 0) return nullptr;
    uint64_t in_chunk = (address & ((1ull << UF_DIRECTORY_SHIFT) - 1)) >> cell_shift;
    return table->chunks() + (uint64_t{chunk} << (UF_DIRECTORY_SHIFT - cell_shift)) + in_chunk;
}

inline uint64_t* make_cell(Table* table, uint64_t address) {
    if (uint64_t* cell = find_cell(table, address)) return cell;
    return make_chunk(table, address) ? find_cell(table, address) : nullptr;
}

inline uint64_t start_in_window(uint64_t address) {
    return (address & ((1ull << cell_shift) - 1)) >> 3;
}

// With sampling nearly every freed block is unknown, and looking for its cell would touch the whole table. So
// each bit of sampled() says for 16 KiB of addresses whether a block was ever recorded there: one load
// answers nearly every free. Set before the block's cell (release); never cleared.
inline void note_sampled(Table* table, uint64_t address) {
    __atomic_fetch_or(&table->sampled()[address >> 19], 1u << (address >> 14 & 31), __ATOMIC_RELEASE);
}
inline bool may_be_sampled(Table* table, uint64_t address) {
    if (__builtin_expect(address >> UF_ADDRESS_BITS != 0, 0)) return false;
    return table->sampled()[address >> 19] >> (address >> 14 & 31) & 1;
}

struct Block {
    uint64_t cell;  // 0: no block
    uint64_t size;  // where the cell has it escaped
};

// SLOW parts of the two below, for sizes that a cell has no room for.
bool write_escaped_size(Table* table, uint64_t address, uint64_t size);
uint64_t clear_escaped_size(Table* table, uint64_t address);

inline void put_cell(Table* table, uint64_t address, uint64_t cell) {
    uint64_t* at = make_cell(table, address);
    if (at) __atomic_store_n(at, cell, __ATOMIC_RELEASE);
}

// FAST. Records the block at `address`: its owner is the caller, who has it from the allocator just now.
inline void add_block(Table* table, uint64_t address, uint64_t size, uint32_t stack) {
    if (__builtin_expect((address & 7) != 0 || (address >> UF_ADDRESS_BITS) != 0, 0))
        return table->lose(UF_LOSS_block_address);
    uint64_t in_cell = size;
    if (__builtin_expect(size >= UF_SIZE_ESCAPE, 0)) {
        if (!write_escaped_size(table, address, size)) return;
        in_cell = UF_SIZE_ESCAPE;
    }
    uint64_t epoch = __atomic_load_n(&table->header()->epoch, __ATOMIC_RELAXED) & UF_EPOCH_MAX;
    put_cell(table, address,
             stack | start_in_window(address) << UF_STACK_BITS | epoch << (UF_STACK_BITS + UF_START_BITS) |
                 in_cell << (64 - UF_SIZE_BITS));
}

// FAST. Takes the block at `address` out: the caller gives it back to the allocator next.
inline Block take_block(Table* table, uint64_t address) {
    if (__builtin_expect((address >> UF_ADDRESS_BITS) != 0, 0)) return Block{};
    uint64_t* at = find_cell(table, address);
    if (!at) return Block{};
    uint64_t cell = __atomic_load_n(at, __ATOMIC_RELAXED);
    if (cell == 0 || (cell >> UF_STACK_BITS & ((1u << UF_START_BITS) - 1)) != start_in_window(address))
        return Block{};
    __atomic_store_n(at, 0, __ATOMIC_RELEASE);
    uint64_t size = cell >> (64 - UF_SIZE_BITS);
    if (__builtin_expect(size == UF_SIZE_ESCAPE, 0)) size = clear_escaped_size(table, address);
    return Block{cell, size};
}

// Puts back what take_block() took: the allocator refused to change the block.
inline void restore_block(Table* table, uint64_t address, const Block& block) {
    if (block.cell == 0) return;
    if (block.cell >> (64 - UF_SIZE_BITS) == UF_SIZE_ESCAPE &&
        !write_escaped_size(table, address, block.size))
        return;
    put_cell(table, address, block.cell);
}

}
