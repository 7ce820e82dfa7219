// Live blocks: the shadow of the address space in the table (layout and fields: contract/table.h).
//
// Between malloc's return and free's entry a block has one owner, so every cell has one writer at a time and
// no lock is needed; cells are stored whole, so the collector's reads (any time) never see half of one. A
// kill between two stores leaves a block recorded or not recorded, never recorded wrongly.
#pragma once
#include "preload/table_view.h"
#include "preload/visibility.h"

namespace unfreed::preload {

// log2 of the bytes per cell, fixed before the first session; see cell_shift_of_allocator() in real.h.
extern UF_HIDDEN uint32_t cell_shift;
extern UF_HIDDEN uint32_t start_mask;  // of the start field: window / 8 - 1

inline uint64_t address_of(const void* block) {
    return reinterpret_cast<uint64_t>(block);
}

void reset_live(Table* table);

// The address's cell, or null: no chunk there.
inline uint64_t* find_cell(Table* table, uint64_t address) {
    uint32_t chunk = __atomic_load_n(&table->directory()[address >> UF_DIRECTORY_SHIFT], __ATOMIC_ACQUIRE);
    if (chunk == 0) return nullptr;
    uint64_t in_chunk = address & ((1ull << UF_DIRECTORY_SHIFT) - 1);
    return table->chunks() + ((uint64_t{chunk} << UF_DIRECTORY_SHIFT | in_chunk) >> cell_shift);
}

inline uint64_t start_in_window(uint64_t address) {
    return address >> 3 & start_mask;
}

// With sampling nearly every freed block is unknown, and looking for its cell would touch the whole table. So
// sampled() counts for each 16 KiB of addresses the recorded blocks that start there: one load answers nearly
// every free, after years of running too. Parts 4 TiB apart share a count, and a count that has come to
// kSampledAlways stays: both only mean a look at the cell for nothing. Counted up before the block's cell is
// stored, and down after it is cleared, each by the block's owner.
constexpr uint8_t kSampledAlways = UINT8_MAX;

inline uint8_t* sampled_part(uint8_t* sampled, uint64_t address) {
    return &sampled[address >> 14 & (UF_SAMPLED_PARTS - 1)];
}
// FAST.
inline bool may_be_sampled(uint8_t* sampled, uint64_t address) {
    return __atomic_load_n(sampled_part(sampled, address), __ATOMIC_RELAXED) != 0;
}
void note_sampled(Table* table, uint64_t address);
void forget_sampled(Table* table, uint64_t address);
// Blocks that are never recorded, and must not be freed unseen all the same.
void note_always(Table* table, uint64_t address, uint64_t bytes);

struct Block {
    uint64_t cell;  // 0: no block
    uint64_t size;  // where the cell has it escaped
};

// SLOW. For a size that a cell has no room for.
uint64_t clear_escaped_size(Table* table, uint64_t address);

inline uint64_t make_value(Table* table, uint64_t address, uint64_t size_in_cell, uint32_t stack) {
    uint64_t epoch = __atomic_load_n(&table->header()->epoch, __ATOMIC_RELAXED) & UF_EPOCH_MAX;
    return stack | start_in_window(address) << UF_STACK_BITS | epoch << (UF_STACK_BITS + UF_START_BITS) |
           size_in_cell << (64 - UF_SIZE_BITS);
}

// SLOW. add_block() for a block in a part of the address space that has no chunk yet, or whose size a cell
// has no room for.
void add_unusual_block(Table* table, uint64_t address, uint64_t size, uint32_t stack);

// FAST. Records the block at `address`: its owner is the caller, who has it from the allocator just now.
inline __attribute__((always_inline)) void add_block(Table* table, uint64_t address, uint64_t size,
                                                     uint32_t stack) {
    if (__builtin_expect(((address & 7) | (address >> UF_ADDRESS_BITS)) == 0 && size < UF_SIZE_ESCAPE, 1)) {
        uint64_t* cell = find_cell(table, address);
        if (__builtin_expect(cell != nullptr, 1)) {
            __atomic_store_n(cell, make_value(table, address, size, stack), __ATOMIC_RELEASE);
            return;
        }
    }
    add_unusual_block(table, address, size, stack);
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
void restore_block(Table* table, uint64_t address, const Block& block);

}
