#include "preload/sampling.h"

#include "preload/contract/table.h"
#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

// libm is not ours to load into a program: the x87 unit has the two functions, to 64 bits.
double log_of(double x) {
    double result;
    asm("fldln2\n\tfldl %1\n\tfyl2x\n\tfstpl %0" : "=m"(result) : "m"(x) : "st", "st(1)");
    return result;
}

double exp_of(double x) {
    double result;
    asm("fldl %1\n\tfldl2e\n\tfmulp\n\tfld %%st(0)\n\tfrndint\n\tfsubr %%st(0), "
        "%%st(1)\n\tfxch\n\tf2xm1\n\tfld1\n\tfaddp\n\t"
        "fscale\n\tfstp %%st(1)\n\tfstpl %0"
        : "=m"(result)
        : "m"(x)
        : "st", "st(1)", "st(2)");
    return result;
}

uint64_t next_random(Sampler* sampler) {
    uint64_t x = sampler->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return sampler->random = x;
}

void seed(Sampler* sampler) {
    uint64_t random = 0;
    system_call(SYS_getrandom, word(&random), sizeof random, 1 /* GRND_NONBLOCK */);
    random ^= __builtin_ia32_rdtsc() ^ reinterpret_cast<uint64_t>(sampler);
    sampler->random = random != 0 ? random : 1;
}

}

bool draw_next(Sampler* sampler, uint64_t size, uint64_t mean) {
    bool counting = sampler->random != 0;
    if (!counting) seed(sampler);
    bool sampled = counting;
    do {
        double uniform = (static_cast<double>(next_random(sampler) >> 11) + 0.5) / 9007199254740992.0;
        sampler->to_next = static_cast<int64_t>(-log_of(uniform) * static_cast<double>(mean));
        if (sampled) return true;
        sampled = is_sampled(sampler, size);
    } while (sampled);
    return false;
}

uint64_t objects_of_sample(uint64_t size, uint64_t mean) {
    if (size == 0) return 0;
    double x = static_cast<double>(size) / static_cast<double>(mean);
    // 1 / (1 - exp(-x)); for small x the difference would lose digits, and its series does not.
    double weight = x < 1e-4 ? 1 / x + 0.5 + x / 12 : x > 40 ? 1 : 1 / (1 - exp_of(-x));
    return static_cast<uint64_t>(weight * UF_OBJECT_UNIT + 0.5);
}

uint64_t bytes_of_sample(uint64_t objects, uint64_t size) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(objects) * size / UF_OBJECT_UNIT);
}

}
