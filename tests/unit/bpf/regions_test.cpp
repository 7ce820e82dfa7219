#include "userspace/capture/ebpf/regions.h"

#include <catch2/catch.hpp>
#include <utility>

namespace {
using unfreed::ebpf::Regions;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kAt = 0x10000;

// (blocks, bytes)
std::pair<int, std::uint64_t> sum(const Regions& regions) {
    std::pair<int, std::uint64_t> all{0, 0};
    regions.for_each([&](std::uint64_t, const Regions::Region&, std::uint64_t bytes, std::uint32_t blocks) {
        all.first += static_cast<int>(blocks);
        all.second += bytes;
    });
    return all;
}
Regions mapped(std::uint64_t bytes) {
    Regions regions;
    regions.map(kAt, bytes, false, 1, 0);
    return regions;
}

}  // namespace

TEST_CASE("a mapping counts the bytes that were asked for") {
    CHECK(sum(mapped(kPage + 1)) == std::pair(1, kPage + 1));
}

TEST_CASE("unmapping takes whole pages") {
    auto regions = mapped(4 * kPage);
    CHECK(regions.unmap(kAt, 1).size() == 1);
    CHECK(sum(regions) == std::pair(1, 3 * kPage));
}

TEST_CASE("unmapping the middle leaves two pieces of one block") {
    auto regions = mapped(4 * kPage);
    regions.unmap(kAt + kPage, kPage);
    CHECK(sum(regions) == std::pair(1, 3 * kPage));
    CHECK(regions.unmap(kAt, 4 * kPage).size() == 2);
    CHECK(sum(regions) == std::pair(0, std::uint64_t{0}));
}

TEST_CASE("unmapping what is not known changes nothing") {
    auto regions = mapped(kPage);
    CHECK(regions.unmap(kAt + kPage, 100 * kPage).empty());
    CHECK(regions.unmap(0, kAt).empty());
    CHECK(sum(regions) == std::pair(1, kPage));
}

TEST_CASE("a mapping in another one's place replaces that part of it") {
    auto regions = mapped(4 * kPage);
    regions.map(kAt + kPage, 2 * kPage, false, 2, 0);
    CHECK(sum(regions) == std::pair(2, 4 * kPage));
}

TEST_CASE("a program break's growths lie side by side, and it shrinks byte by byte") {
    Regions regions;
    regions.map(kAt, 100, false, 1, 0);
    regions.map(kAt + 100, 2 * kPage, false, 2, 0);
    CHECK(sum(regions) == std::pair(2, 2 * kPage + 100));
    regions.unmap(kAt + 150, 2 * kPage - 50);
    CHECK(sum(regions) == std::pair(2, std::uint64_t{150}));
    regions.unmap(kAt + 30, 120);
    CHECK(sum(regions) == std::pair(1, std::uint64_t{30}));
}

TEST_CASE("reserved addresses are no memory until they are opened") {
    Regions regions;
    regions.map(kAt, 8 * kPage, true, 1, 0);
    CHECK(sum(regions).second == 0);
    const auto opened = regions.protect(kAt + kPage, 2 * kPage, false, 5);
    REQUIRE(opened.size() == 1);
    CHECK(opened[0].bytes == 2 * kPage);
    CHECK(sum(regions) == std::pair(1, 2 * kPage));
    CHECK(regions.protect(kAt + kPage, 2 * kPage, false, 6).empty());
    regions.protect(kAt + 5 * kPage, kPage, false, 6);
    CHECK(sum(regions) == std::pair(2, 3 * kPage));
    regions.protect(kAt + 5 * kPage, kPage, true, 6);
    regions.protect(kAt + kPage, kPage, true, 7);
    CHECK(sum(regions) == std::pair(1, kPage));
}

TEST_CASE("what a thread moves is still there until it has, also when another one maps its place meanwhile") {
    Regions regions;
    regions.map(kAt, kPage, false, 1, 0);
    regions.take_off(7, kAt, kPage);
    regions.map(kAt, 2 * kPage, false, 2, 0);  // heard before the move's end
    CHECK(sum(regions).second == 3 * kPage);
    const auto moved = regions.moved(7);
    REQUIRE(moved);
    CHECK(moved->size() == 1);
    CHECK(sum(regions) == std::pair(1, 2 * kPage));
    CHECK_FALSE(regions.moved(7));
}

TEST_CASE("a move that fails leaves everything as it was") {
    Regions regions;
    regions.map(kAt, 3 * kPage, false, 1, 0);
    regions.take_off(7, kAt + kPage, kPage);
    regions.put_back(7);
    CHECK(sum(regions) == std::pair(1, 3 * kPage));
    regions.put_back(7);
    CHECK(sum(regions) == std::pair(1, 3 * kPage));
}
