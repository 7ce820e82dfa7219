// Poisson sampling by bytes: every byte is a sample point with probability 1 / mean, independently, so a
// block of s bytes is sampled with p(s) = 1 - exp(-s / mean) and stands for 1 / p(s) blocks like it. That is
// unbiased for every size, also far above the mean. A thread counts down to its next sample point; the
// unsampled path is one subtraction.
#pragma once
#include <cstdint>

#include "preload/visibility.h"

namespace unfreed::preload {

// The thread's own: bytes to its next sample point.
extern UF_HIDDEN __thread int64_t countdown __attribute__((tls_model("initial-exec")));

// A session starts: the calling thread draws anew. (After a fork there is no other.)
void begin_countdown();

// FAST. Does a block of this size hold a sample point? Then the countdown is below zero until draw_next().
// Bytes of calls that turn out to be none of the program's may be counted off too: the points among them are
// drawn and dropped, and the others are Poisson as before.
inline bool is_sampled(uint64_t size) {
    countdown -= static_cast<int64_t>(size & INT64_MAX);
    return __builtin_expect(countdown < 0, 0);
}

// SLOW. After is_sampled(size): the same answer; and when it is true, draws the distance to the next point,
// from an exponential distribution with this mean. A countdown that had not begun begins here, with this
// block.
bool draw_next(uint64_t size, uint64_t mean);

// What a sampled block of `size` bytes stands for, in 1 / UF_OBJECT_UNIT of a block.
uint64_t objects_of_sample(uint64_t size, uint64_t mean);

// Those objects' bytes.
uint64_t bytes_of_sample(uint64_t objects, uint64_t size);

}
