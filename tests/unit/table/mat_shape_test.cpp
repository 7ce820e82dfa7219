#include "preload/mat_shape.h"

#include <catch2/catch.hpp>

#include "tests/unit/table/test_table.h"

using namespace unfreed::preload;

namespace {

constexpr uint64_t kBlock = 0x5500'0000'0000;
constexpr uint64_t kCreate = 0x7f00'0000'1000, kCaller = 0x7f00'0000'2000;
constexpr int kExtents[] = {480, 640};
constexpr MatShape kShape{5, 2, kExtents};
constexpr uint64_t kBytes = 480 * 640 * 4;

// fastMalloc < create < kCaller
NodeId leaf_in(Table* table) {
    return child_of(table, child_of(table, child_of(table, 0, kCaller), kCreate), UF_FUNCTION_cv_fastMalloc);
}

uint64_t cell_of(Table* table) {
    return *find_cell(table, kBlock);
}

}

TEST_CASE("a block gets the shape of its matrix as nodes inside of its leaf") {
    const TestTable table;
    const NodeId leaf = leaf_in(table.get());
    const uint64_t bytes = GENERATE(kBytes, uint64_t{1} << 33);  // the second has its size escaped
    add_block(table.get(), kBlock, bytes, leaf);
    const uint64_t before = cell_of(table.get());
    const Reshaped reshaped = reshape_block(table.get(), kBlock, bytes, kShape, kCaller);
    CHECK(reshaped.before == leaf);
    const uf_node* nodes = table.get()->nodes();
    const uf_node& type = nodes[reshaped.after];
    CHECK(type.pc == (UF_PC_TYPE | 2 << 16 | 5));
    CHECK(nodes[type.caller].pc == (UF_PC_EXTENT | 640));
    CHECK(nodes[nodes[type.caller].caller].pc == (UF_PC_EXTENT | 480));
    CHECK(nodes[nodes[type.caller].caller].caller == leaf);
    CHECK(cell_of(table.get()) == before - leaf + reshaped.after);  // nothing but the stack has changed
    CHECK(take_block(table.get(), kBlock).size == bytes);
}

TEST_CASE("the same shape again changes nothing, another one takes its place") {
    const TestTable table;
    const NodeId leaf = leaf_in(table.get());
    add_block(table.get(), kBlock, kBytes, leaf);
    const NodeId first = reshape_block(table.get(), kBlock, kBytes, kShape, kCaller).after;
    const Reshaped again = reshape_block(table.get(), kBlock, kBytes, kShape, kCaller);
    CHECK(again.before == first);
    CHECK(again.after == first);
    constexpr int kOther[] = {640, 480};
    const NodeId second = reshape_block(table.get(), kBlock, kBytes, MatShape{5, 2, kOther}, kCaller).after;
    CHECK(second != first);
    CHECK(table.get()->nodes()[table.get()->nodes()[table.get()->nodes()[second].caller].caller].caller ==
          leaf);
}

TEST_CASE("a block of another size, or from elsewhere, is not the matrix's") {
    const TestTable table;
    add_block(table.get(), kBlock, kBytes, leaf_in(table.get()));
    const uint64_t before = cell_of(table.get());
    CHECK(reshape_block(table.get(), kBlock, kBytes + 1, kShape, kCaller).after == 0);
    CHECK(reshape_block(table.get(), kBlock, kBytes, kShape, kCaller + 1).after == 0);
    CHECK(reshape_block(table.get(), kBlock + 8, kBytes, kShape, kCaller).after == 0);
    CHECK(reshape_block(table.get(), kBlock + (1 << 30), kBytes, kShape, kCaller).after == 0);
    CHECK(cell_of(table.get()) == before);
}
