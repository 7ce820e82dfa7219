// What the workloads share: the clock around the loop that is measured, the blocks that stay, and the closing
// line that bench.py reads. What a workload keeps for ever is allocated by bench_keep() alone, so that the
// right answer is known: the profile must show exactly `kept_bytes` under that function.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace bench {

inline std::int64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

struct Kept {
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;
};

// A barrier for the optimizer: `block` is used, memory may have changed, and no call before it is a tail
// call.
inline void use(void* block) {
    asm volatile("" : : "r"(block) : "memory");
}

inline void print_result(std::uint64_t operations, std::int64_t loop_ns, const Kept& kept) {
    std::printf("operations %llu loop_ns %lld kept_blocks %llu kept_bytes %llu\n",
                (unsigned long long)operations, (long long)loop_ns, (unsigned long long)kept.blocks,
                (unsigned long long)kept.bytes);
}

// argv[index] as a number, or `otherwise`
inline std::uint64_t number(int argc, char** argv, int index, std::uint64_t otherwise) {
    return index < argc ? std::strtoull(argv[index], nullptr, 10) : otherwise;
}

}  // namespace bench

[[gnu::noinline]] static void* bench_keep(std::size_t bytes, bench::Kept& kept) {
    void* block = std::malloc(bytes);
    if (block == nullptr) std::abort();
    ++kept.blocks;
    kept.bytes += bytes;
    bench::use(block);
    return block;
}
