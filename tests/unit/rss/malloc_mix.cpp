// Blocks of many sizes in the main arena and in the arenas of four threads, some of them freed. At rest it
// prints what malloc itself says (mallinfo2): bytes from the kernel, bytes free; and how many freed bytes the
// main thread keeps in its cache at least.
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

void allocate(unsigned seed, std::vector<void*>& kept) {
    for (int i = 0; i < 20000; ++i) {
        seed = seed * 1103515245 + 12345;
        const std::size_t size = (seed >> 16 & 0x7ff) * ((seed >> 8) % 50 == 0 ? 20 : 1);
        kept.push_back(std::malloc(size));
        if ((seed & 1) == 0) continue;
        void*& block = kept[(seed >> 5) % kept.size()];
        std::free(block);
        block = nullptr;
    }
}

// Seven of one size fill a list of the thread's cache.
std::size_t fill_cache() {
    constexpr std::size_t kAsked = 1000, kChunk = 1008;
    std::array<void*, 7> blocks{};
    for (void*& block : blocks) block = std::malloc(kAsked);
    asm volatile("" : : "r"(blocks.data()) : "memory");  // no compiler may do without them
    for (void* const block : blocks) std::free(block);
    return blocks.size() * kChunk;
}

}  // namespace

int main() {
    constexpr int kThreads = 4;
    std::barrier at_rest(kThreads + 1), end(kThreads + 1);
    std::array<std::vector<void*>, kThreads + 1> kept;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i)
        threads.emplace_back([&, i] {
            allocate(i + 7, kept[i]);
            at_rest.arrive_and_wait();
            end.arrive_and_wait();
        });
    allocate(3, kept[kThreads]);
    at_rest.arrive_and_wait();
    const std::size_t cached = fill_cache();
    const struct mallinfo2 books = mallinfo2();
    std::array<char, 200> text{};
    const int length =
        std::snprintf(text.data(), text.size(), "%zu %zu %zu\n", books.arena, books.fordblks, cached);
    char c = 0;
    if (write(1, text.data(), static_cast<std::size_t>(length)) == length && read(0, &c, 1) > 0) return 1;
    end.arrive_and_wait();
    for (std::thread& thread : threads) thread.join();
}
