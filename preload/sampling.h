// Poisson sampling by bytes: every byte is a sample point with probability 1 / mean, independently, so a
// block of s bytes is sampled with p(s) = 1 - exp(-s / mean) and stands for 1 / p(s) blocks like it. That is
// unbiased for every size, also far above the mean. A thread counts down to its next sample point; the
// unsampled path is one subtraction.
#pragma once
#include <cstdint>

namespace unfreed::preload {

struct Sampler {
    int64_t to_next;  // bytes to the next sample point
    uint64_t random;  // xorshift state; 0: not seeded
};

// FAST. Does a block of this size hold a sample point?
inline bool is_sampled(Sampler* sampler, uint64_t size) {
    sampler->to_next -= static_cast<int64_t>(size < (1ull << 62) ? size : 1ull << 62);
    return __builtin_expect(sampler->to_next < 0, 0);
}

// SLOW. A new distance, from an exponential distribution with this mean. False: the countdown had not begun
// yet, and by the distance drawn now this block is no sample.
bool draw_next(Sampler* sampler, uint64_t size, uint64_t mean);

// What a sampled block of `size` bytes stands for, in 1 / UF_OBJECT_UNIT of a block.
uint64_t objects_of_sample(uint64_t size, uint64_t mean);

// Those objects' bytes.
uint64_t bytes_of_sample(uint64_t objects, uint64_t size);

}
