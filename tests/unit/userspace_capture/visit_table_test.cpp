// Live blocks one by one: with the addresses that the program has, their sizes and domains.
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/unit/userspace_capture/table_builder.h"
#include "userspace/capture/preload/table_reader.h"

using namespace unfreed;
using unfreed::testing::TableBuilder;

namespace {

constexpr std::uint64_t kHeap = 0x5500'0000'0000;
constexpr std::uint64_t kCode = 0x7f00'0000'1000;

std::map<std::uint64_t, Backend::LiveBlock> visited(const TableFile& file) {
    std::map<std::uint64_t, Backend::LiveBlock> blocks;
    visit_table(file,
                [&](const Backend::LiveBlock& block) { CHECK(blocks.emplace(block.address, block).second); });
    return blocks;
}

}  // namespace

TEST_CASE("every block is visited once, with its address and size") {
    const std::uint32_t shift = GENERATE(5u, 3u);
    const TableFile file = TableFile::create(shift, 0, 0);
    TableBuilder builder(file.descriptor());
    const std::uint32_t stack = builder.add_path(kCode, UF_FUNCTION_malloc);
    const std::map<std::uint64_t, std::uint64_t> sizes{
        {kHeap, 0},
        {kHeap + 40, 100},
        {kHeap + (1 << UF_DIRECTORY_SHIFT) - 32, (5ull << 30) + 1},
        {kHeap + (9ull << UF_DIRECTORY_SHIFT) + 8, 7},
        {0x7fff'ffff'f000, UF_SIZE_ESCAPE}};
    for (const auto& [address, size] : sizes) builder.add_block(address, size, stack);
    const auto blocks = visited(file);
    REQUIRE(blocks.size() == sizes.size());
    for (const auto& [address, size] : sizes) {
        REQUIRE(blocks.count(address) == 1);
        CHECK(blocks.at(address).bytes == size);
        CHECK(blocks.at(address).weight == 1);
    }
}

TEST_CASE("a visited block has its function's domain, and one of a sample stands for many") {
    constexpr std::uint64_t kMean = 1024;
    const TableFile file = TableFile::create(5, kMean, 0);
    TableBuilder builder(file.descriptor());
    builder.add_block(kHeap, 16, builder.add_path(kCode, UF_FUNCTION_malloc));
    builder.add_block(kHeap + 64, 16, builder.add_path(kCode, UF_FUNCTION_cv_fastMalloc));
    builder.add_block(kHeap + 128, 16, 1 << 20);  // a stack that is not there
    const auto blocks = visited(file);
    REQUIRE(blocks.size() == 3);
    const std::vector<std::string> domains = empty_preload_snapshot().domains;
    CHECK(domains.at(blocks.at(kHeap).domain) == "malloc");
    CHECK(domains.at(blocks.at(kHeap + 64).domain) == "opencv");
    CHECK(domains.at(blocks.at(kHeap + 128).domain) == "malloc");
    CHECK(blocks.at(kHeap).weight == Approx(1 / (1 - std::exp(-16.0 / kMean))));
}
