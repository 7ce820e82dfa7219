#include "userspace/capture/ebpf/range_space.h"

#include <catch2/catch.hpp>

using unfreed::ebpf::RangeSpace;

TEST_CASE("windows of the range space do not overlap") {
    RangeSpace space;
    const auto first = space.take(10);
    const auto second = space.take(5);
    REQUIRE(first);
    REQUIRE(second);
    CHECK(second->first == first->first + 10);
}

TEST_CASE("a full range space gives nothing") {
    RangeSpace space;
    CHECK(space.take(UF_BPF_RANGES));
    CHECK_FALSE(space.take(1));
}

TEST_CASE("a window that was given back rests first") {
    RangeSpace space;
    const auto all = space.take(UF_BPF_RANGES);
    REQUIRE(all);
    space.give_back(*all);
    space.tick();
    CHECK_FALSE(space.take(1));
}
