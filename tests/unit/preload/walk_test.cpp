// Stacks of every shape, walked by rules and by full_step(), against libunwind.
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/unit/preload/walk_oracle.h"

namespace unfreed::preload {
namespace {

WalkComparison seen;

// Keeps the call before it from becoming a jump.
inline void keep_frame() {
    asm volatile("" ::: "memory");
}

// Keeps a value from being known, and in use to here.
template <typename T>
inline void opaque_one(T& value) {
    asm volatile("" : "+r"(value)::"memory");
}

template <typename... T>
inline void opaque(T&... values) {
    (opaque_one(values), ...);
}

__attribute__((noinline)) void leaf() {
    seen = compare_walks();
    keep_frame();
}

void require_same_walk(size_t at_least) {
    for (const std::string& difference : seen.differences) UNSCOPED_INFO(difference);
    REQUIRE(seen.differences.empty());
    REQUIRE(seen.end == Step::kOutermost);
    CHECK(seen.pcs.size() >= at_least);
    CHECK(seen.by_rule > 0);
    seen = {};
}

__attribute__((noinline)) int with_callee_saved(int depth) {
    int a = depth, b = depth + 1, c = depth + 2, d = depth + 3, e = depth + 4, f = depth + 5;
    opaque(a, b, c, d, e, f);
    if (depth > 0) {
        with_callee_saved(depth - 1);
    } else {
        leaf();
    }
    keep_frame();
    return a + b + c + d + e + f;
}

__attribute__((noinline)) void with_alloca(size_t size) {
    auto* bytes = static_cast<char*>(alloca(size));
    std::memset(bytes, 1, size);
    opaque(bytes);
    leaf();
    opaque(bytes);
}

__attribute__((noinline)) void with_aligned_local(size_t size) {
    alignas(64) char aligned[128];
    char* bytes = aligned;
    std::memset(bytes, 1, sizeof(aligned));
    opaque(bytes);
    with_alloca(size);
    opaque(bytes);
}

__attribute__((noinline)) void with_aligned_local_and_alloca(size_t size, int a, int b, int c, int d, int e,
                                                             int f, int on_the_stack) {
    alignas(64) char aligned[128];
    char* bytes = aligned;
    auto* more = static_cast<char*>(alloca(size));
    std::memset(bytes, a + b + c + d + e + f, sizeof(aligned));
    std::memset(more, on_the_stack, size);
    opaque(bytes, more);
    with_aligned_local(size + 24);
    opaque(bytes, more);
}

__attribute__((noinline, force_align_arg_pointer)) void with_realigned_stack(int depth) {
    with_callee_saved(depth);
    keep_frame();
}

void on_signal(int) {
    leaf();
}

void on_breakpoint(int, siginfo_t*, void*) {
    leaf();
}

// ud2 is the function's first instruction: its pc - 1 belongs to whatever stands before.
extern "C" void unfreed_test_first_instruction();
asm(R"(
    .text
    .p2align 4
unfreed_test_before:
    .cfi_startproc
    subq $1000, %rsp
    .cfi_def_cfa_offset 1008
    addq $1000, %rsp
    .cfi_def_cfa_offset 8
    ret
    .cfi_def_cfa_offset 1008
    .cfi_endproc
    .globl unfreed_test_first_instruction
    .hidden unfreed_test_first_instruction
unfreed_test_first_instruction:
    .cfi_startproc
    ud2
    ret
    .cfi_endproc
)");

void on_illegal_instruction(int, siginfo_t*, void* context) {
    leaf();
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}

// Installs a handler for as long as it lives.
class Handler {
  public:
    Handler(int number, void (*handler)(int, siginfo_t*, void*), int flags = 0) : number_(number) {
        struct sigaction action {};
        action.sa_sigaction = handler;
        action.sa_flags = SA_SIGINFO | flags;
        REQUIRE(sigaction(number_, &action, &before_) == 0);
    }
    ~Handler() { sigaction(number_, &before_, nullptr); }
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;

  private:
    int number_;
    struct sigaction before_;
};

std::vector<uint64_t> seen_from_callback;

void walk_from_callback() {
    seen_from_callback = walk_with_frame_pointers();
    keep_frame();
}

void raise_within(int depth) {
    if (depth > 0) {
        raise_within(depth - 1);
    } else {
        raise(SIGUSR1);
    }
    keep_frame();
}

}

TEST_CASE("walk: functions that keep no frame pointer and use every callee-saved register") {
    with_callee_saved(10);
    require_same_walk(12);
}

TEST_CASE("walk: deep recursion") {
    with_callee_saved(3000);
    require_same_walk(3002);
}

TEST_CASE("walk: alloca, aligned locals and both") {
    for (size_t size : {16, 100, 4000}) {
        with_alloca(size);
        require_same_walk(3);
        with_aligned_local(size);
        require_same_walk(4);
        with_aligned_local_and_alloca(size, 1, 2, 3, 4, 5, 6, 7);
        require_same_walk(5);
    }
}

TEST_CASE("walk: a function that realigns the stack it was called on") {
    with_realigned_stack(3);
    require_same_walk(6);
}

TEST_CASE("walk: callbacks out of the C library") {
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof(int), [](const void* left, const void* right) {
        if (seen.pcs.empty()) leaf();
        return *static_cast<const int*>(left) - *static_cast<const int*>(right);
    });
    require_same_walk(4);
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, [] { with_callee_saved(2); });
    require_same_walk(6);
}

TEST_CASE("walk: a thread, to its entry") {
    std::thread{[] { with_callee_saved(4); }}.join();
    require_same_walk(7);
}

TEST_CASE("walk: an exception's handler and a destructor that it runs") {
    struct Walks {
        ~Walks() { leaf(); }
    };
    try {
        const Walks walks;
        throw 1;
    } catch (int) {
        require_same_walk(3);
        leaf();
    }
    require_same_walk(3);
}

TEST_CASE("walk: through signal frames, also nested") {
    const Handler handler{SIGUSR1, [](int, siginfo_t*, void*) { on_signal(0); }, SA_NODEFER};
    raise_within(3);
    CHECK(seen.signal_frames == 1);
    require_same_walk(8);
    static int nested;
    nested = 0;
    const Handler nesting{SIGUSR1,
                          [](int, siginfo_t*, void*) {
                              if (++nested < 3) {
                                  raise(SIGUSR1);
                              } else {
                                  leaf();
                              }
                              keep_frame();
                          },
                          SA_NODEFER};
    raise_within(1);
    CHECK(seen.signal_frames == 3);
    require_same_walk(10);
}

TEST_CASE("walk: from an alternate signal stack back to the thread's own") {
    std::vector<char> alternate(1 << 16);
    stack_t stack{}, before{};
    stack.ss_sp = alternate.data();
    stack.ss_size = alternate.size();
    REQUIRE(sigaltstack(&stack, &before) == 0);
    {
        const Handler handler{SIGUSR1, [](int, siginfo_t*, void*) { on_signal(0); }, SA_ONSTACK};
        raise_within(3);
    }
    REQUIRE(sigaltstack(&before, nullptr) == 0);
    CHECK(seen.signal_frames == 1);
    require_same_walk(8);
}

TEST_CASE("walk: interrupted at a function's first instruction, the exact pc counts") {
    const Handler handler{SIGILL, on_illegal_instruction};
    unfreed_test_first_instruction();
    CHECK(seen.signal_frames == 1);
    const auto interrupted = reinterpret_cast<uint64_t>(&unfreed_test_first_instruction);
    CHECK(std::count(seen.pcs.begin(), seen.pcs.end(), interrupted) == 1);
    require_same_walk(4);
}

TEST_CASE("walk: interrupted inside a function") {
    const Handler handler{SIGTRAP, on_breakpoint};
    asm volatile("int3" ::: "memory");
    CHECK(seen.signal_frames == 1);
    require_same_walk(4);
}

TEST_CASE("walk: a ucontext's stack ends where it was made") {
    static ucontext_t outside, inside;
    std::vector<char> stack(1 << 18);
    REQUIRE(getcontext(&inside) == 0);
    inside.uc_stack.ss_sp = stack.data();
    inside.uc_stack.ss_size = stack.size();
    inside.uc_link = &outside;
    makecontext(
        &inside, [] { with_callee_saved(3); }, 0);
    REQUIRE(swapcontext(&outside, &inside) == 0);
    require_same_walk(5);
}

TEST_CASE("walk: code without unwind information is stepped over by its frame pointer") {
    // push rbp; mov rbp, rsp; call rdi; pop rbp; ret
    constexpr uint8_t kCode[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    std::memcpy(page, kCode, sizeof(kCode));
    REQUIRE(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    const std::vector<uint64_t> here = walk_with_frame_pointers();
    reinterpret_cast<void (*)(void (*)())>(page)(walk_from_callback);
    munmap(page, 4096);
    // The callback, the page, this function, and from there on what was seen without the page in between.
    const std::vector<uint64_t>& across = seen_from_callback;
    REQUIRE(across.size() > 3);
    REQUIRE(here.size() > 1);
    CHECK(across[1] == reinterpret_cast<uint64_t>(page) + 6);
    CHECK(across[3] == here[1]);
}

}
