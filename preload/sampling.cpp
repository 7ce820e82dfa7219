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

// The thread's xorshift state; 0: not seeded, and nothing drawn yet.
__thread uint64_t random_state __attribute__((tls_model("initial-exec"))) = 0;

void seed() {
    uint64_t random = 0;
    system_call(SYS_getrandom, word(&random), sizeof random, 1 /* GRND_NONBLOCK */);
    random ^= __builtin_ia32_rdtsc() ^ reinterpret_cast<uint64_t>(&random_state);
    random_state = random != 0 ? random : 1;
}

double next_uniform() {
    uint64_t x = random_state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    random_state = x;
    return (static_cast<double>(x >> 11) + 0.5) / 9007199254740992.0;
}

}

__thread int64_t countdown __attribute__((tls_model("initial-exec"))) = 0;

void begin_countdown() {
    countdown = 0;
    random_state = 0;
}

bool draw_next(uint64_t size, uint64_t mean) {
    bool sampled = random_state != 0;
    if (sampled && countdown >= 0) return false;
    if (!sampled) seed();
    do {
        countdown = static_cast<int64_t>(-log_of(next_uniform()) * static_cast<double>(mean));
        if (sampled) return true;
        sampled = is_sampled(size);
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
