#include "preload/live.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/unit/table/test_table.h"

using namespace unfreed::preload;

namespace {

constexpr uint64_t kHeap = 0x555555000000;
constexpr uint32_t kStack = 77;

uint32_t stack_of(const Block& block) {
    return block.cell & ((1u << UF_STACK_BITS) - 1);
}

}

TEST_CASE("a block is there with its size and stack until it is taken, once") {
    uint32_t shift = GENERATE(5u, 3u);
    TestTable table(shift);
    add_block(table.get(), kHeap + 16, 100, kStack);
    Block block = take_block(table.get(), kHeap + 16);
    CHECK(block.size == 100);
    CHECK(stack_of(block) == kStack);
    CHECK(take_block(table.get(), kHeap + 16).cell == 0);
}

TEST_CASE("a block of no bytes is a block") {
    TestTable table;
    add_block(table.get(), kHeap, 0, kStack);
    CHECK(take_block(table.get(), kHeap).cell != 0);
}

TEST_CASE("an address inside of a block's window is not the block") {
    TestTable table;
    add_block(table.get(), kHeap + 16, 100, kStack);
    CHECK(take_block(table.get(), kHeap).cell == 0);
    CHECK(take_block(table.get(), kHeap + 24).cell == 0);
    CHECK(take_block(table.get(), kHeap + 16).size == 100);
}

TEST_CASE("blocks 8 bytes apart are told apart where the allocator needs it") {
    TestTable table(3);
    add_block(table.get(), kHeap, 8, 1);
    add_block(table.get(), kHeap + 8, 8, 2);
    CHECK(stack_of(take_block(table.get(), kHeap)) == 1);
    CHECK(stack_of(take_block(table.get(), kHeap + 8)) == 2);
}

TEST_CASE("sizes beyond a cell's field are whole") {
    uint32_t shift = GENERATE(5u, 3u);
    uint64_t size = GENERATE(uint64_t{UF_SIZE_ESCAPE} - 1, uint64_t{UF_SIZE_ESCAPE}, uint64_t{5} << 32,
                             uint64_t{1} << 46);
    TestTable table(shift);
    add_block(table.get(), kHeap + 16, size, kStack);
    CHECK(take_block(table.get(), kHeap + 16).size == size);
    add_block(table.get(), kHeap + 16 + (1ull << shift), 8, kStack);  // the size's cell is free again
    CHECK(take_block(table.get(), kHeap + 16 + (1ull << shift)).size == 8);
}

TEST_CASE("a large block at the end of a chunk has its size in the next") {
    TestTable table;
    uint64_t last = kHeap + (1ull << UF_DIRECTORY_SHIFT) - 32;
    add_block(table.get(), last, 1ull << 40, kStack);
    CHECK(take_block(table.get(), last).size == 1ull << 40);
}

TEST_CASE("what was taken can be put back") {
    uint64_t size = GENERATE(uint64_t{40}, uint64_t{1} << 33);
    TestTable table;
    add_block(table.get(), kHeap, size, kStack);
    restore_block(table.get(), kHeap, take_block(table.get(), kHeap));
    Block block = take_block(table.get(), kHeap);
    CHECK(block.size == size);
    CHECK(stack_of(block) == kStack);
}

TEST_CASE("an address that cannot be a key is counted") {
    TestTable table;
    add_block(table.get(), kHeap + 4, 10, kStack);
    add_block(table.get(), 1ull << UF_ADDRESS_BITS, 10, kStack);
    CHECK(table.loss(UF_LOSS_block_address) == 2);
}

TEST_CASE("a full table says so") {
    TestTable table;
    table.get()->header()->chunk_count = UF_CHUNKS;
    add_block(table.get(), kHeap, 10, kStack);
    CHECK(table.loss(UF_LOSS_block_table_full) == 1);
    CHECK(take_block(table.get(), kHeap).cell == 0);
}

TEST_CASE("threads that grow the table at the same places lose nothing") {
    TestTable table;
    constexpr int kThreads = 8;
    constexpr uint64_t kBlocks = 4000;
    on_threads(kThreads, [&](int thread) {
        for (uint64_t i = 0; i < kBlocks; i++)  // neighbours in one chunk belong to different threads
            add_block(table.get(), kHeap + i * (1 << 14) + static_cast<uint64_t>(thread) * 32, i, kStack);
    });
    uint64_t found = 0;
    for (uint64_t i = 0; i < kBlocks; i++)
        for (uint64_t thread = 0; thread < kThreads; thread++) {
            Block block = take_block(table.get(), kHeap + i * (1 << 14) + thread * 32);
            found += block.cell != 0 && block.size == i;
        }
    CHECK(found == kBlocks * kThreads);
}

TEST_CASE("when sampling, a part of the address space may have a block while it has a recorded one") {
    TestTable table;
    uint8_t* sampled = table.get()->sampled();
    CHECK_FALSE(may_be_sampled(sampled, kHeap));
    note_sampled(table.get(), kHeap);
    note_sampled(table.get(), kHeap + 64);
    CHECK(may_be_sampled(sampled, kHeap + (1 << 14) - 1));
    CHECK_FALSE(may_be_sampled(sampled, kHeap + (1 << 14)));
    CHECK_FALSE(may_be_sampled(sampled, kHeap - 1));
    forget_sampled(table.get(), kHeap);
    CHECK(may_be_sampled(sampled, kHeap));
    forget_sampled(table.get(), kHeap + 64);
    CHECK_FALSE(may_be_sampled(sampled, kHeap));
}

TEST_CASE("a part that had more recorded blocks than its count holds is looked at for ever") {
    TestTable table;
    for (int i = 0; i < 300; i++) note_sampled(table.get(), kHeap);
    for (int i = 0; i < 300; i++) forget_sampled(table.get(), kHeap);
    CHECK(may_be_sampled(table.get()->sampled(), kHeap));
}
