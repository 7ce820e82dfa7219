// Coarse time in 14 bits: the collector counts epochs, the shim stamps blocks with the current one, and ages
// come out of the difference. Eight tiers of 2048 epochs, each four times coarser than the one before: a tick
// is one second at first and 16384 seconds in the end, which reaches for five years. The last epoch never
// ends.
#pragma once
#include <algorithm>
#include <cstdint>

#include "preload/contract/table.h"

namespace unfreed::epoch_clock {

inline constexpr std::uint32_t kTierBits = 11;
inline constexpr std::uint32_t kEpochsPerTier = 1u << kTierBits;
static_assert(UF_EPOCH_MAX == 8 * kEpochsPerTier - 1);

constexpr std::uint64_t tick_seconds(std::uint32_t epoch) {
    return std::uint64_t{1} << (2 * (epoch >> kTierBits));
}

// When an epoch began, in seconds since recording did.
constexpr std::uint64_t start_seconds(std::uint32_t epoch) {
    const std::uint64_t tick = tick_seconds(epoch);
    const std::uint64_t tiers_before = kEpochsPerTier * (tick - 1) / 3;  // 2048 * (1 + 4 + ... + tick/4)
    return tiers_before + (epoch & (kEpochsPerTier - 1)) * tick;
}

// The epoch that a moment falls in.
constexpr std::uint32_t epoch_at(std::uint64_t seconds) {
    std::uint32_t tier = 0;
    while (tier < 7 && seconds >= start_seconds((tier + 1) << kTierBits)) ++tier;
    const std::uint32_t first = tier << kTierBits;
    const std::uint64_t epoch = first + (seconds - start_seconds(first)) / tick_seconds(first);
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(epoch, UF_EPOCH_MAX));
}

}  // namespace unfreed::epoch_clock
