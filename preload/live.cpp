#include "preload/live.h"

#include "preload/system_call.h"

namespace unfreed::preload {

uint32_t cell_shift = 5;

namespace {

// A large heap's cells in huge pages where the kernel has them for memory files: fewer faults while it grows,
// and fewer misses of the address translation in random frees. A small heap stays in small pages.
constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kSmallTable = 16 << 20;

void grow_in_huge_pages(Table* table, uint32_t chunk) {
    uint64_t bytes = 8ull << (UF_DIRECTORY_SHIFT - cell_shift);
    uint64_t at = chunk * bytes;
    if (at < kSmallTable || at % kHugePage != 0) return;
    system_call(SYS_madvise, word(table->chunks()) + static_cast<long>(at), kHugePage,
                14 /* MADV_HUGEPAGE */);
}

}

void reset_live(Table* table) {
    cell_shift = table->header()->cell_shift == 5 ? 5 : 3;
    table->header()->chunk_count = 1;
}

__attribute__((noinline)) uint32_t make_chunk(Table* table, uint64_t address) {
    uint32_t* entry = &table->directory()[address >> UF_DIRECTORY_SHIFT];
    uint32_t* count = &table->header()->chunk_count;
    uint32_t mine = __atomic_load_n(count, __ATOMIC_RELAXED);
    do {
        if (mine >= UF_CHUNKS) {
            table->lose(UF_LOSS_block_table_full);
            return 0;
        }
    } while (!__atomic_compare_exchange_n(count, &mine, mine + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    grow_in_huge_pages(table, mine);
    uint32_t expected = 0;
    // Who comes second uses the first one's chunk; its own number stays unused, which costs nothing in a
    // sparse file.
    if (__atomic_compare_exchange_n(entry, &expected, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    return expected;
}

__attribute__((noinline)) bool write_escaped_size(Table* table, uint64_t address, uint64_t size) {
    uint64_t* next = make_cell(table, address + (1ull << cell_shift));
    if (!next || !make_cell(table, address)) return false;
    __atomic_store_n(next, size << 1 | 1, __ATOMIC_RELEASE);
    return true;
}

__attribute__((noinline)) uint64_t clear_escaped_size(Table* table, uint64_t address) {
    uint64_t* next = find_cell(table, address + (1ull << cell_shift));
    if (!next) return 0;
    return __atomic_exchange_n(next, 0, __ATOMIC_RELEASE) >> 1;
}

}
