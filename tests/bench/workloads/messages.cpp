// Four threads in a ring: each allocates messages and hands them to the next, which frees them: messages
// COUNT (of each thread). No block is freed by the thread that allocated it.
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/bench/workloads/descent.h"

namespace {

constexpr int kThreads = 4;
constexpr std::uint64_t kSlots = 1024;

// One producer, one consumer. `sent` is stored with release after the slot and read with acquire before it;
// `received` likewise gives the slot back.
struct Queue {
    std::array<void*, kSlots> slots;
    alignas(64) std::atomic<std::uint64_t> sent{0};
    alignas(64) std::atomic<std::uint64_t> received{0};

    bool full() const {
        return sent.load(std::memory_order_relaxed) - received.load(std::memory_order_acquire) == kSlots;
    }
    void send(void* message) {
        const std::uint64_t at = sent.load(std::memory_order_relaxed);
        slots[at % kSlots] = message;
        sent.store(at + 1, std::memory_order_release);
    }
    // Frees all that has come; true when there was something.
    bool free_received() {
        const std::uint64_t first = received.load(std::memory_order_relaxed);
        const std::uint64_t end = sent.load(std::memory_order_acquire);
        for (std::uint64_t at = first; at != end; ++at) std::free(slots[at % kSlots]);
        received.store(end, std::memory_order_release);
        return first != end;
    }
};

void allocate(void* context) {
    *static_cast<void**>(context) = std::malloc(128);
}

void take_part(Queue& from, Queue& to, std::uint64_t count) {
    for (std::uint64_t turn = 0; turn < count; ++turn) {
        while (to.full())
            if (!from.free_received()) std::this_thread::yield();
        void* message = nullptr;
        bench::descend(8, bench::path_number(turn, 256), allocate, &message);
        to.send(message);
        if (turn % 64 == 0) from.free_received();
    }
    while (from.received.load(std::memory_order_relaxed) != count)
        if (!from.free_received()) std::this_thread::yield();
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t count = bench::number(argc, argv, 1, 1'000'000);
    bench::Kept kept;
    for (int i = 0; i < 100; ++i) bench_keep(100, kept);

    auto queues = std::make_unique<std::array<Queue, kThreads>>();
    std::vector<std::thread> threads;
    const std::int64_t start = bench::now_ns();
    for (int i = 0; i < kThreads; ++i)
        threads.emplace_back([&, i] { take_part((*queues)[i], (*queues)[(i + 1) % kThreads], count); });
    for (std::thread& thread : threads) thread.join();
    bench::print_result(kThreads * count, bench::now_ns() - start, kept);
}
