// stack_stress PLUGIN_A PLUGIN_B [ROUNDS [SEED [quiet-loader]]]: allocates from stacks in every shape that
// could deceive an unwinder that remembers: each function below names one. For the checked build of the shim,
// which unwinds every allocation afresh and compares. Prints how many allocations it made.
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#define KEPT __attribute__((noinline, noipa))

using Callback = void* (*)(std::size_t);
extern "C" {
void* without_cfi(Callback call, std::size_t bytes);  // stack_stress_without_cfi.S
void* without_cfi_or_frame_pointer(Callback call, std::size_t bytes);
}

namespace {

std::atomic<long> allocations{0};
// Handlers allocate from malloc only when they interrupt code that is not itself inside an allocator: malloc
// is not async-signal-safe. mmap is, so they always call that.
thread_local volatile sig_atomic_t may_malloc = 0;

struct Random {
    uint64_t state;
    uint32_t below(uint32_t n) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<uint32_t>(((state >> 33) * n) >> 31);
    }
};
thread_local Random rnd{1};

KEPT void* allocate(std::size_t bytes) {
    const sig_atomic_t before = may_malloc;
    may_malloc = 0;
    void* p = malloc(bytes);
    asm volatile("" : "+r"(p));  // else the compiler leaves out both calls
    allocations.fetch_add(1, std::memory_order_relaxed);
    free(p);
    may_malloc = before;
    return nullptr;
}

KEPT void recursion(uint32_t depth) {
    char frame[24];
    asm volatile("" : : "r"(frame) : "memory");
    if (depth % 7 == 0) allocate(depth + 1);
    if (depth) recursion(depth - 1);
    if (depth % 11 == 0) allocate(depth + 1);
    asm volatile("" : : "r"(frame) : "memory");
}

// Two ways to the same sp: only the return addresses above differ.
KEPT void leaf() {
    allocate(16);
    allocate(17);
}
KEPT void path_x() {
    leaf();
    asm volatile("");
}
KEPT void path_y() {
    leaf();
    asm volatile("");
}
KEPT void same_sp_other_path() {
    recursion(30);
    for (int i = 0; i < 4; ++i) {
        if (rnd.below(2))
            path_x();
        else
            path_y();
    }
}

struct AllocatesWhenUnwound {
    ~AllocatesWhenUnwound() { allocate(40); }
};
KEPT void throws_from(uint32_t depth) {
    AllocatesWhenUnwound object;
    if (depth == 0) throw 1;
    throws_from(depth - 1);
    asm volatile("");
}
KEPT void exceptions() {
    const sig_atomic_t before = may_malloc;
    may_malloc = 0;
    try {
        throws_from(rnd.below(20));
    } catch (int) {
        allocate(8);
    }
    leaf();
    may_malloc = before;
}

thread_local jmp_buf* jump_target;
KEPT void jumps_from(uint32_t depth) {
    char frame[40];
    asm volatile("" : : "r"(frame) : "memory");
    allocate(depth + 1);
    if (depth == 0) longjmp(*jump_target, 1);
    if (depth) jumps_from(depth - 1);
    asm volatile("" : : "r"(frame) : "memory");
}
KEPT void long_jumps() {
    jmp_buf target;
    jump_target = &target;
    volatile uint32_t depth = rnd.below(25);
    if (setjmp(target) == 0) jumps_from(depth);
    leaf();
    path_x();
}

// The call is the function's last instruction: the return address lies behind its end.
[[noreturn]] KEPT void never_returns() {
    allocate(5);
    longjmp(*jump_target, 1);
}
KEPT void calls_last(int) {
    never_returns();
}
KEPT void call_at_the_end() {
    jmp_buf target;
    jump_target = &target;
    if (setjmp(target) == 0) calls_last(1);
    allocate(6);
}

KEPT void frames_of_changing_size(uint32_t depth) {
    auto* space = static_cast<volatile char*>(alloca(1 + rnd.below(3000)));
    space[0] = 1;
    allocate(depth + 1);
    if (depth) frames_of_changing_size(depth - 1);
    allocate(depth + 1);
    space[0] = 2;
}

KEPT void realigned(uint32_t depth) {
    alignas(128) char aligned[128];
    asm volatile("" : : "r"(aligned) : "memory");
    allocate(depth + 1);
    if (depth) realigned(depth - 1);
    asm volatile("" : : "r"(aligned) : "memory");
}

KEPT long arguments_on_stack(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j) {
    allocate(static_cast<std::size_t>(g + h));
    return a + b + c + d + e + f + g + h + i + j;
}
KEPT void pushes_arguments() {  // the CFA moves between two calls of one function
    allocate(9);
    const long sum = arguments_on_stack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    allocate(static_cast<std::size_t>(sum));
}

KEPT void code_without_cfi() {
    without_cfi(allocate, 10);
    without_cfi_or_frame_pointer(allocate, 10);
    leaf();
}

// --- Coroutines: stacks on the heap and mapped ones, left half way and unmapped
// -------------------------------
struct Coroutine {
    ucontext_t context, caller;
    char* stack = nullptr;
    std::size_t bytes = 0;
    bool mapped = false, done = false;
};
thread_local Coroutine* current;

KEPT void yield() {
    Coroutine* self = current;
    swapcontext(&self->context, &self->caller);
}
KEPT void body(uint32_t depth) {
    char frame[56];
    asm volatile("" : : "r"(frame) : "memory");
    allocate(depth + 1);
    if (depth % 3 == 0) yield();
    if (depth) body(depth - 1);
    allocate(depth + 1);
    asm volatile("" : : "r"(frame) : "memory");
}
void coroutine_main() {
    Coroutine* self = current;
    body(rnd.below(12));
    recursion(rnd.below(20));
    self->done = true;
    swapcontext(&self->context, &self->caller);
}
void resume(Coroutine& coroutine) {
    Coroutine* outer = current;
    current = &coroutine;
    swapcontext(&coroutine.caller, &coroutine.context);
    current = outer;
}
KEPT void coroutines() {
    const sig_atomic_t before = may_malloc;
    may_malloc = 0;
    Coroutine all[4];
    for (Coroutine& coroutine : all) {
        coroutine.bytes = 64 * 1024;
        coroutine.mapped = rnd.below(2);
        coroutine.stack =
            static_cast<char*>(coroutine.mapped ? mmap(nullptr, coroutine.bytes, PROT_READ | PROT_WRITE,
                                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                                : malloc(coroutine.bytes));
        getcontext(&coroutine.context);
        coroutine.context.uc_stack.ss_sp = coroutine.stack;
        coroutine.context.uc_stack.ss_size = coroutine.bytes;
        makecontext(&coroutine.context, coroutine_main, 0);
    }
    for (int i = 0; i < 12; ++i) {
        Coroutine& coroutine = all[rnd.below(4)];
        if (!coroutine.done) resume(coroutine);
        leaf();
    }
    for (Coroutine& coroutine : all) {  // most are in the middle of something: their frames just vanish
        if (coroutine.mapped)
            munmap(coroutine.stack, coroutine.bytes);
        else
            free(coroutine.stack);
        allocate(20);
    }
    may_malloc = before;
}

// --- Signal handlers, at any instruction
// ------------------------------------------------------------------------
KEPT void handler_body(uint32_t depth) {
    void* p = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) munmap(p, 4096);
    if (may_malloc) allocate(33);
    if (depth) handler_body(depth - 1);
}
void on_timer(int) {
    handler_body(3);
}

KEPT uint64_t interruptible(uint32_t depth, uint64_t x) {
    may_malloc = 1;
    for (int i = 0; i < 200; ++i) x = x * 31 + depth;
    if (depth) x += interruptible(depth - 1, x);
    may_malloc = 1;
    for (int i = 0; i < 200; ++i) x = x * 37 + depth;
    if (depth == 0) may_malloc = 0;
    return x;
}
KEPT void interrupted_anywhere() {
    volatile uint64_t sink = interruptible(20, 1);
    (void)sink;
    may_malloc = 0;
    leaf();
}
KEPT void handlers_on_purpose() {
    raise(SIGUSR1);  // on the normal stack
    leaf();
    raise(SIGUSR2);  // on the alternate one
    leaf();
}

// --- Other code at the same address
// -----------------------------------------------------------------------------
const char* plugin_paths[2];
pthread_mutex_t plugins = PTHREAD_MUTEX_INITIALIZER;
bool quiet_loader = false;

class SignalsHeld {
  public:
    explicit SignalsHeld(bool hold) {
        sigset_t all;
        sigemptyset(&all);
        if (hold) sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
};

KEPT void other_code_at_the_same_address() {
    using Entry = void* (*)(Callback, std::size_t);
    const sig_atomic_t before = may_malloc;
    may_malloc = 0;
    pthread_mutex_lock(&plugins);
    for (int i = 0; i < 2; ++i) {
        void* library = nullptr;
        void* entry = nullptr;
        {
            SignalsHeld held(quiet_loader);
            library = dlopen(plugin_paths[i], RTLD_NOW | RTLD_LOCAL);
            entry = library ? dlsym(library, "plugin_entry") : nullptr;
        }
        if (!entry) _exit(97);
        for (int k = 0; k < 3; ++k) reinterpret_cast<Entry>(entry)(allocate, 50);
        SignalsHeld held(quiet_loader);
        dlclose(library);
    }
    pthread_mutex_unlock(&plugins);
    may_malloc = before;
}

int rounds = 3000;

// Each round is interrupted at most once by each timer: a handler under a slow checker that came periodically
// would leave no time for anything else.
void interrupt_soon() {
    const itimerval real{{0, 0}, {0, 1 + static_cast<suseconds_t>(rnd.below(1000))}};
    const itimerval profiling{{0, 0}, {0, 1 + static_cast<suseconds_t>(rnd.below(1000))}};
    setitimer(ITIMER_REAL, &real, nullptr);
    setitimer(ITIMER_PROF, &profiling, nullptr);
}

KEPT void stress(uint64_t seed) {
    rnd.state = seed;
    for (int i = 0; i < rounds; ++i) {
        interrupt_soon();
        switch (rnd.below(14)) {
            case 0:
                recursion(rnd.below(300));
                break;
            case 1:
                same_sp_other_path();
                break;
            case 2:
                exceptions();
                break;
            case 3:
                long_jumps();
                break;
            case 4:
                call_at_the_end();
                break;
            case 5:
                frames_of_changing_size(rnd.below(15));
                break;
            case 6:
                realigned(rnd.below(15));
                break;
            case 7:
                pushes_arguments();
                break;
            case 8:
                code_without_cfi();
                break;
            case 9:
                coroutines();
                break;
            case 10:
                interrupted_anywhere();
                break;
            case 11:
                handlers_on_purpose();
                break;
            case 12:
                other_code_at_the_same_address();
                break;
            default:
                recursion(3);
        }
    }
}

// Each thread has an alternate stack; a later thread's stack lies where an earlier one's was.
void* thread_main(void* seed) {
    static thread_local char alternate[64 * 1024];
    const stack_t stack{alternate, 0, sizeof alternate};
    sigaltstack(&stack, nullptr);
    stress(reinterpret_cast<uintptr_t>(seed));
    const stack_t none{nullptr, SS_DISABLE, 0};
    sigaltstack(&none, nullptr);
    return nullptr;
}
void* other_thread_main(void* seed) {
    void* result = thread_main(seed);
    asm volatile("");
    return result;
}

void handle(int signal, int flags) {
    struct sigaction action {};
    action.sa_handler = on_timer;
    action.sa_flags = SA_RESTART | flags;
    sigaction(signal, &action, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    plugin_paths[0] = argv[1];
    plugin_paths[1] = argv[2];
    if (argc > 3) rounds = atoi(argv[3]);
    const uintptr_t seed = argc > 4 ? strtoul(argv[4], nullptr, 10) : 1;
    quiet_loader = argc > 5 && !strcmp(argv[5], "quiet-loader");
    handle(SIGUSR1, 0);
    handle(SIGUSR2, SA_ONSTACK);
    handle(SIGALRM, 0);
    handle(SIGPROF, SA_ONSTACK);
    for (uintptr_t i = 0; i < 4; ++i) {
        pthread_t threads[2];
        if (pthread_create(&threads[0], nullptr, thread_main, reinterpret_cast<void*>(seed + 2 * i)) != 0 ||
            pthread_create(&threads[1], nullptr, other_thread_main,
                           reinterpret_cast<void*>(seed + 2 * i + 1)) != 0)
            return 97;
        stress(seed + 100 + i);
        for (pthread_t thread : threads) pthread_join(thread, nullptr);
    }
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    setitimer(ITIMER_PROF, &never, nullptr);
    printf("%ld allocations\n", allocations.load());
    return 0;
}
