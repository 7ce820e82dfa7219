/* Sampling: points are strewn over the stream of allocated bytes, sample_bytes apart in the mean; a block is
 * recorded when at least one falls into it, and stands for that many times sample_bytes. */
#ifndef UNFREED_BPF_SAMPLING_H
#define UNFREED_BPF_SAMPLING_H

#include "bpf/maps.h"

/* -ln(u) * mean for a random u in (0, 1], the logarithm by a parabola between powers of two. */
static __always_inline uint64_t exponential(uint64_t mean) {
    uint32_t u = bpf_get_prandom_u32() | 1;
    uint32_t exponent = 31;
    for (int i = 0; i < 31 && !(u & 0x80000000); ++i) {
        u <<= 1;
        --exponent;
    }
    const uint64_t m = u >> 15 & 0xffff;                                   /* mantissa, 16 bits */
    const uint64_t fraction = m + (22533 * (m * (65536 - m) >> 16) >> 16); /* log2(1 + m), mean exact */
    const uint64_t log2 = ((uint64_t)exponent << 16) + fraction;
    const uint64_t minus_ln = ((32ull << 16) - log2) * 45426 >> 16; /* ln 2, 16 bits */
    return (mean * minus_ln >> 16) + 1;
}

static __always_inline uint32_t sample_points(uint64_t size) {
    const uint64_t mean = control.sample_bytes;
    if (!mean) return 1;
    uint32_t zero = 0;
    uint64_t* const left = bpf_map_lookup_elem(&sample_left, &zero);
    if (!left) return 0;
    uint64_t until = *left ? *left : exponential(mean);
    uint32_t points = 0;
    for (int i = 0; i < 8 && until <= size; ++i) {
        ++points;
        size -= until;
        until = exponential(mean);
    }
    if (until <= size) { /* many more: their number is as good as certain */
        points += size / mean;
        until = exponential(mean);
        size = 0;
    }
    *left = until - size;
    return points;
}

#endif
