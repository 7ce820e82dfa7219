#include "userspace/capture/preload/dense_index.h"

#include <catch2/catch.hpp>
#include <vector>

using unfreed::DenseIndex;

TEST_CASE("every element is found again while the index grows") {
    DenseIndex index;
    std::vector<std::uint64_t> elements;
    const auto position_of = [&](std::uint64_t element) {
        return index.find_or_add(unfreed::mix_bits(element), static_cast<std::uint32_t>(elements.size()),
                                 [&](std::uint32_t at) { return elements[at] == element; });
    };
    for (std::uint64_t i = 0; i < 100'000; ++i) {
        REQUIRE(position_of(i * 4096) == i);
        elements.push_back(i * 4096);
    }
    for (std::uint64_t i = 0; i < 100'000; ++i) REQUIRE(position_of(i * 4096) == i);
}

TEST_CASE("elements with one and the same hash are told apart") {
    DenseIndex index;
    std::vector<int> elements;
    for (int i = 0; i < 300; ++i) {
        const auto next = static_cast<std::uint32_t>(elements.size());
        REQUIRE(index.find_or_add(42, next, [&](std::uint32_t at) { return elements[at] == i; }) == next);
        elements.push_back(i);
    }
    REQUIRE(index.find_or_add(42, 300, [&](std::uint32_t at) { return elements[at] == 299; }) == 299);
}
