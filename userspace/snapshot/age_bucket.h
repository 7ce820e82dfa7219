// Ages are kept as the lower bound, in seconds, of the bucket they fall in: whoever captures rounds down with
// age_bucket(), whoever reports names the bucket with age_bucket_end(). Few buckets, so that a stack with a
// million blocks is a handful of samples.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

namespace unfreed {

inline constexpr std::array<std::uint32_t, 12> kAgeBuckets{
    0, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 2 * 86400, 7 * 86400, 30 * 86400, 365 * 86400};

// The lower bound of the bucket that an age falls in.
constexpr std::uint32_t age_bucket(std::uint64_t seconds) {
    const auto* const above = std::upper_bound(kAgeBuckets.begin(), kAgeBuckets.end(), seconds);
    return *(above - 1);
}

// The first age that is beyond the bucket which starts at or holds `seconds`; 0: the last bucket has no end.
constexpr std::uint32_t age_bucket_end(std::uint64_t seconds) {
    const auto* const above = std::upper_bound(kAgeBuckets.begin(), kAgeBuckets.end(), seconds);
    return above == kAgeBuckets.end() ? 0 : *above;
}

}  // namespace unfreed
