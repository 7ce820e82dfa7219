// malloc+free pairs at the end of a call path that changes every time: pairs DEPTH PATHS PAIRS_PER_DESCENT
// PAIRS.
#include "tests/bench/workloads/descent.h"

namespace {

struct Pairs {
    std::uint64_t per_descent;
    std::uint64_t done;
};

void allocate_and_free(void* context) {
    auto& pairs = *static_cast<Pairs*>(context);
    for (std::uint64_t i = 0; i < pairs.per_descent; ++i) {
        void* block = std::malloc(24 + (pairs.done++ & 7) * 16);
        bench::use(block);
        std::free(block);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const auto depth = static_cast<unsigned>(bench::number(argc, argv, 1, 8));
    const std::uint64_t paths = bench::number(argc, argv, 2, 256);
    const std::uint64_t per_descent = bench::number(argc, argv, 3, 1);
    const std::uint64_t all = bench::number(argc, argv, 4, 1'000'000);

    bench::Kept kept;
    for (int i = 0; i < 100; ++i) bench_keep(100, kept);

    Pairs pairs{per_descent, 0};
    const std::int64_t start = bench::now_ns();
    for (std::uint64_t turn = 0; pairs.done < all; ++turn)
        bench::descend(depth, bench::path_number(turn, paths), allocate_and_free, &pairs);
    bench::print_result(pairs.done, bench::now_ns() - start, kept);
}
