// A large live heap, then churn in it: live BLOCKS PAIRS. All the blocks stay to the end, so that the last
// picture has them.
#include <vector>

#include "tests/bench/workloads/descent.h"

namespace {

struct Slot {
    void** block;
    bench::Kept* kept;
};

void fill(void* context) {
    auto& slot = *static_cast<Slot*>(context);
    *slot.block = bench_keep(64, *slot.kept);
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t count = bench::number(argc, argv, 1, 5'000'000);
    const std::uint64_t pairs = bench::number(argc, argv, 2, 5'000'000);
    bench::Kept kept;
    std::vector<void*> blocks(count);

    const std::int64_t start = bench::now_ns();
    for (std::uint64_t i = 0; i < count; ++i) {
        Slot slot{&blocks[i], &kept};
        bench::descend(8, bench::path_number(i, 256), fill, &slot);
    }
    std::uint64_t random = 1;
    for (std::uint64_t turn = 0; turn < pairs; ++turn) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        void*& block = blocks[(random >> 33) % count];
        std::free(block);
        bench::Kept again;  // this one replaces a block that is counted
        Slot slot{&block, &again};
        bench::descend(8, bench::path_number(turn, 256), fill, &slot);
    }
    bench::print_result(count + pairs, bench::now_ns() - start, kept);
}
