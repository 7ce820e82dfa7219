#include "preload/trie.h"

#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/unit/table/test_table.h"

using namespace unfreed::preload;

namespace {

constexpr uint64_t kCode = 0x400000;

}

TEST_CASE("the same path has the same id") {
    TestTable table;
    NodeId outer = child_of(table.get(), 0, kCode);
    REQUIRE(outer != 0);
    CHECK(child_of(table.get(), 0, kCode) == outer);
    NodeId inner = child_of(table.get(), outer, kCode + 1);
    CHECK(inner != outer);
    CHECK(child_of(table.get(), outer, kCode + 1) == inner);
}

TEST_CASE("the same frame under another caller is another path") {
    TestTable table;
    NodeId a = child_of(table.get(), 0, kCode);
    NodeId b = child_of(table.get(), 0, kCode + 1);
    CHECK(child_of(table.get(), a, kCode + 2) != child_of(table.get(), b, kCode + 2));
}

TEST_CASE("a node says its pc and its caller, which was made before it") {
    TestTable table;
    NodeId outer = child_of(table.get(), 0, kCode);
    NodeId inner = child_of(table.get(), outer, kCode + 1);
    const uf_node& node = table.get()->nodes()[inner];
    CHECK(node.pc == kCode + 1);
    CHECK(node.caller == outer);
    CHECK(outer < inner);
}

TEST_CASE("a node with thousands of children finds each") {
    TestTable table;
    constexpr uint64_t kChildren = 5000;
    std::vector<NodeId> ids;
    for (uint64_t i = 0; i < kChildren; i++) ids.push_back(child_of(table.get(), 0, kCode + i));
    CHECK(std::set<NodeId>(ids.begin(), ids.end()).size() == kChildren);
    bool all_found = true;
    for (uint64_t i = 0; i < kChildren; i++) all_found &= child_of(table.get(), 0, kCode + i) == ids[i];
    CHECK(all_found);
}

TEST_CASE("threads that meet the same paths at the same time agree on their ids") {
    TestTable table;
    constexpr int kThreads = 8;
    constexpr uint64_t kPaths = 3000;
    std::vector<std::vector<NodeId>> ids(kThreads, std::vector<NodeId>(kPaths));
    on_threads(kThreads, [&](int thread) {
        for (uint64_t i = 0; i < kPaths; i++) {
            NodeId outer = child_of(table.get(), 0, kCode + i % 50);  // a few wide nodes, many narrow ones
            ids[static_cast<size_t>(thread)][i] = child_of(table.get(), outer, kCode + i);
        }
    });
    for (int thread = 1; thread < kThreads; thread++) CHECK(ids[static_cast<size_t>(thread)] == ids[0]);
    CHECK(std::set<NodeId>(ids[0].begin(), ids[0].end()).size() == kPaths);
}

TEST_CASE("a full trie says so and keeps what it has") {
    TestTable table;
    NodeId before = child_of(table.get(), 0, kCode);
    table.get()->header()->node_count = UF_NODES;
    CHECK(child_of(table.get(), 0, kCode + 1) == 0);
    CHECK(child_of(table.get(), 0, kCode) == before);
    CHECK(table.loss(UF_LOSS_stack_table_full) == 1);
}

TEST_CASE("each function has a leaf for paths that are not known") {
    TestTable table;
    CHECK(table.get()->nodes()[pathless_leaf(UF_FUNCTION_malloc)].pc == UF_FUNCTION_malloc);
    CHECK(table.get()->nodes()[pathless_leaf(UF_FUNCTION_cv_fastMalloc)].pc == UF_FUNCTION_cv_fastMalloc);
}
