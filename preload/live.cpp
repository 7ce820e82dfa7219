#include "preload/live.h"

#include "preload/system_call.h"

namespace unfreed::preload {

uint32_t cell_shift = 5;
uint32_t start_mask = 3;

namespace {

// Small blocks use all cells of their chunk soon: one system call for its pages costs half of what a fault
// for each does, and a large table's come as huge pages where the kernel has them for memory files, which
// saves misses of the address translation too. Where blocks are large, few cells are ever used, and pages
// come one by one; likewise with sampling, in a short program, and where cells are many (cell_shift 3). A
// kernel that refuses (populating: before 5.14) changes nothing.
constexpr uint64_t kSmallBlock = 1024;
constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kSmallTable = 2 << 20;
constexpr uint64_t kLargeTable = 16 << 20;

void populate(Table* table, uint32_t chunk) {
    uint64_t bytes = UF_CHUNK_BYTES(cell_shift);
    uint64_t at = chunk * bytes;
    if (at < kSmallTable || cell_shift != 5 || table->header()->sample_bytes != 0) return;
    long cells = word(table->chunks()) + static_cast<long>(at);
    if (at >= kLargeTable && at % kHugePage == 0)
        system_call(SYS_madvise, cells, kHugePage, 14 /* MADV_HUGEPAGE */);
    system_call(SYS_madvise, cells, static_cast<long>(bytes), 23 /* MADV_POPULATE_WRITE */);
}

// The number of the chunk for this part of the address space, made now; 0: the table is full.
uint32_t make_chunk(Table* table, uint64_t address) {
    uint32_t* entry = &table->directory()[address >> UF_DIRECTORY_SHIFT];
    uint32_t* count = &table->header()->chunk_count;
    uint32_t mine = __atomic_load_n(count, __ATOMIC_RELAXED);
    do {
        if (mine >= UF_CHUNKS) {
            table->lose(UF_LOSS_block_table_full);
            return 0;
        }
    } while (!__atomic_compare_exchange_n(count, &mine, mine + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    uint32_t expected = 0;
    // Who comes second uses the first one's chunk; its own number stays unused, which costs nothing in a
    // sparse file.
    if (__atomic_compare_exchange_n(entry, &expected, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    return expected;
}

uint64_t* make_cell(Table* table, uint64_t address) {
    if (uint64_t* cell = find_cell(table, address)) return cell;
    return make_chunk(table, address) ? find_cell(table, address) : nullptr;
}

void put_cell(Table* table, uint64_t address, uint64_t cell) {
    uint64_t* at = make_cell(table, address);
    if (at) __atomic_store_n(at, cell, __ATOMIC_RELEASE);
}

bool write_escaped_size(Table* table, uint64_t address, uint64_t size) {
    uint64_t* next = make_cell(table, address + (1ull << cell_shift));
    if (!next || !make_cell(table, address)) return false;
    __atomic_store_n(next, size << 1 | 1, __ATOMIC_RELEASE);
    return true;
}

}

void reset_live(Table* table) {
    cell_shift = table->header()->cell_shift == 5 ? 5 : 3;
    start_mask = (1u << cell_shift >> 3) - 1;
    table->header()->chunk_count = 1;
}

__attribute__((noinline)) void add_unusual_block(Table* table, uint64_t address, uint64_t size,
                                                 uint32_t stack) {
    if ((address & 7) != 0 || (address >> UF_ADDRESS_BITS) != 0) return table->lose(UF_LOSS_block_address);
    if (size <= kSmallBlock && find_cell(table, address) == nullptr) {
        uint32_t chunk = make_chunk(table, address);
        if (chunk == 0) return;
        populate(table, chunk);
    }
    uint64_t in_cell = size;
    if (size >= UF_SIZE_ESCAPE) {
        if (!write_escaped_size(table, address, size)) return;
        in_cell = UF_SIZE_ESCAPE;
    }
    put_cell(table, address, make_value(table, address, in_cell, stack));
}

void restore_block(Table* table, uint64_t address, const Block& block) {
    if (block.cell == 0) return;
    if (block.cell >> (64 - UF_SIZE_BITS) == UF_SIZE_ESCAPE &&
        !write_escaped_size(table, address, block.size))
        return;
    put_cell(table, address, block.cell);
}

__attribute__((noinline)) uint64_t clear_escaped_size(Table* table, uint64_t address) {
    uint64_t* next = find_cell(table, address + (1ull << cell_shift));
    if (!next) return 0;
    return __atomic_exchange_n(next, 0, __ATOMIC_RELEASE) >> 1;
}

void note_sampled(Table* table, uint64_t address) {
    uint8_t* part = sampled_part(table->sampled(), address);
    uint8_t count = __atomic_load_n(part, __ATOMIC_RELAXED);
    while (count != kSampledAlways &&
           !__atomic_compare_exchange_n(part, &count, count + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void forget_sampled(Table* table, uint64_t address) {
    uint8_t* part = sampled_part(table->sampled(), address);
    uint8_t count = __atomic_load_n(part, __ATOMIC_RELAXED);
    while (count != kSampledAlways && count != 0 &&
           !__atomic_compare_exchange_n(part, &count, count - 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void note_always(Table* table, uint64_t address, uint64_t bytes) {
    for (uint64_t at = address >> 14; at <= (address + bytes - 1) >> 14; at++)
        __atomic_store_n(sampled_part(table->sampled(), at << 14), kSampledAlways, __ATOMIC_RELAXED);
}

}
