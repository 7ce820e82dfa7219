#include "userspace/capture/preload/epoch_clock.h"

#include <catch2/catch.hpp>

using namespace unfreed::epoch_clock;

TEST_CASE("every epoch begins where the one before ended") {
    for (std::uint32_t epoch = 0; epoch < UF_EPOCH_MAX; ++epoch)
        REQUIRE(start_seconds(epoch) + tick_seconds(epoch) == start_seconds(epoch + 1));
}

TEST_CASE("a moment is in the epoch that has begun last") {
    for (std::uint32_t epoch = 0; epoch <= UF_EPOCH_MAX; ++epoch) {
        REQUIRE(epoch_at(start_seconds(epoch)) == epoch);
        REQUIRE(epoch_at(start_seconds(epoch) + tick_seconds(epoch) - 1) == epoch);
    }
}

TEST_CASE("the first half hour counts single seconds") {
    CHECK(tick_seconds(0) == 1);
    CHECK(tick_seconds(2047) == 1);
    CHECK(tick_seconds(2048) == 4);
}

TEST_CASE("the last epoch never ends") {
    CHECK(epoch_at(UINT64_MAX) == UF_EPOCH_MAX);
}
