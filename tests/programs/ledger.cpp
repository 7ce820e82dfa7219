// ledger BOOKS END [ROUNDS]: allocates from many named sites with every function of functions.def, on several
// threads that free each other's blocks, keeps its own books (books.h), writes them to the file BOOKS at the
// last moment, and ends as END says:
//   return exit _exit exit_group abort segv sigkill   itself
//   wait                                              pauses after writing, to be killed from outside
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <new>

#include "tests/programs/books.h"

using books::Block;

namespace {

enum Kind { kMalloc, kNew, kNewArray, kNewAligned, kNewArrayAligned, kMap };
constexpr std::size_t kPage = 4096;
volatile std::size_t huge = SIZE_MAX / 4;  // volatile: the compiler must not see that it cannot succeed
volatile int* volatile nowhere = nullptr;
void* volatile no_block = nullptr;  // volatile: realloc(nullptr, n) would be compiled as malloc(n)

}  // namespace

// --- One site for each function that allocates
// ---------------------------------------------------------------
#define SITE(NAME, FUNCTION, KIND, BYTES, CALL, ...)                                                     \
    BOOKS_SITE(NAME, FUNCTION, KIND == kMap ? "mmap" : "malloc");                                        \
    BOOKS_FUNCTION Block site_##NAME(__VA_ARGS__);                                                       \
    Block site_##NAME(__VA_ARGS__) {                                                                     \
        void* p = CALL;                                                                                  \
        return books::got(page_##NAME, p == MAP_FAILED ? nullptr : p, BYTES, KIND, alignment_of(BYTES)); \
    }
namespace {
// Alignments follow from the size, so that a block's owner can tell them to the matching delete.
std::size_t alignment_of(std::size_t bytes) {
    return std::size_t{32} << (bytes % 5);
}
std::align_val_t align_val(std::size_t bytes) {
    return std::align_val_t{alignment_of(bytes)};
}
void* posix_aligned(void* p, int status) {
    return status == 0 ? p : nullptr;
}
}  // namespace

SITE(malloc, "malloc", kMalloc, n, malloc(n), std::size_t n)
SITE(calloc, "calloc", kMalloc, n * 3, calloc(n, 3), std::size_t n)
SITE(realloc, "realloc", kMalloc, n, realloc(no_block, n), std::size_t n)
SITE(reallocarray, "reallocarray", kMalloc, n * 2, reallocarray(no_block, n, 2), std::size_t n)
SITE(aligned_alloc, "aligned_alloc", kMalloc, n, aligned_alloc(alignment_of(n), n), std::size_t n)
SITE(memalign, "memalign", kMalloc, n, memalign(alignment_of(n), n), std::size_t n)
SITE(valloc, "valloc", kMalloc, n, valloc(n), std::size_t n)
#ifndef LEDGER_WITHOUT_PVALLOC  // an allocator that replaces malloc and forgot it: glibc's block, not its own
SITE(pvalloc, "pvalloc", kMalloc, n, pvalloc(n), std::size_t n)
#else
#define site_pvalloc site_valloc
#endif
BOOKS_SITE(posix_memalign, "posix_memalign", "malloc");
BOOKS_FUNCTION Block site_posix_memalign(std::size_t n) {
    void* p = nullptr;
    const int status = posix_memalign(&p, alignment_of(n), n);
    return books::got(page_posix_memalign, posix_aligned(p, status), n, kMalloc);
}
#define NEW "operator new(unsigned long"
#define NEW_ARRAY "operator new[](unsigned long"
SITE(new, NEW ")", kNew, n, ::operator new(n), std::size_t n)
SITE(new_array, NEW_ARRAY ")", kNewArray, n, ::operator new[](n), std::size_t n)
SITE(new_nothrow, NEW ", std::nothrow_t const&)", kNew, n, ::operator new(n, std::nothrow), std::size_t n)
SITE(new_array_nothrow, NEW_ARRAY ", std::nothrow_t const&)", kNewArray, n, ::operator new[](n, std::nothrow),
     std::size_t n)
// Not of 0 bytes: jemalloc's sized aligned delete takes such a block for another size.
#define N (n + 1)
SITE(new_aligned, NEW ", std::align_val_t)", kNewAligned, N, ::operator new(N, align_val(N)), std::size_t n)
SITE(new_array_aligned, NEW_ARRAY ", std::align_val_t)", kNewArrayAligned, N,
     ::operator new[](N, align_val(N)), std::size_t n)
SITE(new_aligned_nothrow, NEW ", std::align_val_t, std::nothrow_t const&)", kNewAligned, N,
     ::operator new(N, align_val(N), std::nothrow), std::size_t n)
SITE(new_array_aligned_nothrow, NEW_ARRAY ", std::align_val_t, std::nothrow_t const&)", kNewArrayAligned, N,
     ::operator new[](N, align_val(N), std::nothrow), std::size_t n)
#define ANONYMOUS PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
SITE(mmap, "mmap", kMap, n, mmap(nullptr, n, ANONYMOUS), std::size_t n)
SITE(mmap64, "mmap64", kMap, n, mmap64(nullptr, n, ANONYMOUS), std::size_t n)

// --- Sites that take a block and give another
// ----------------------------------------------------------------
BOOKS_SITE(realloc_grown, "realloc", "malloc");
BOOKS_FUNCTION Block site_realloc_grown(Block block, std::size_t n) {
    void* p = realloc(block.address, n);
    if (!p && n) return block;  // failed: the old block is as it was
    books::gave(block);
    return books::got(page_realloc_grown, p, n, kMalloc);
}
BOOKS_SITE(realloc_to_zero, "realloc", "malloc");
BOOKS_FUNCTION Block site_realloc_to_zero(Block block) {  // frees in glibc, gives an empty block elsewhere
    void* p = realloc(block.address, 0);
    books::gave(block);
    return books::got(page_realloc_to_zero, p, 0, kMalloc);
}
BOOKS_SITE(reallocarray_grown, "reallocarray", "malloc");
BOOKS_FUNCTION Block site_reallocarray_grown(Block block, std::size_t n, std::size_t size) {
    void* p = reallocarray(block.address, n, size);
    if (!p) return block;
    books::gave(block);
    return books::got(page_reallocarray_grown, p, n * size, kMalloc);
}
BOOKS_SITE(mremap, "mremap", "mmap");
BOOKS_FUNCTION Block site_mremap(Block block, std::size_t n, int flags) {
    void* p = mremap(block.address, block.bytes, n, flags);
    if (p == MAP_FAILED) return block;
    books::gave(block);
    return books::got(page_mremap, p, n, kMap);
}
BOOKS_SITE(mremap_fixed, "mremap", "mmap");
BOOKS_FUNCTION Block site_mremap_fixed(Block block, Block onto) {  // replaces the mapping `onto`
    void* p = mremap(block.address, block.bytes, onto.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, onto.address);
    if (p == MAP_FAILED) abort();
    const std::size_t n = onto.bytes;
    books::gave(block);
    books::gave(onto);
    return books::got(page_mremap_fixed, p, n, kMap);
}
BOOKS_SITE(mmap_fixed, "mmap", "mmap");
BOOKS_FUNCTION Block site_mmap_fixed(void* address, std::size_t n) {
    void* p = mmap(address, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return books::got(page_mmap_fixed, p == MAP_FAILED ? nullptr : p, n, kMap);
}

// Addresses that are only reserved are no memory; what mprotect opens of them is.
BOOKS_SITE(mmap_reserved, "mmap", "mmap");
BOOKS_FUNCTION void site_mmap_reserved() {
    void* p = mmap(nullptr, 64 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(p, 5 * kPage, PROT_READ | PROT_WRITE);
    books::got(page_mmap_reserved, p, 5 * kPage, kMap);
}

// --- Every function that frees
// -------------------------------------------------------------------------------
namespace {

using Take = Block (*)(std::size_t);
using Give = void (*)(Block&);
struct Giver {
    Kind kind;
    Give give;
};
std::align_val_t of(const Block& b) {
    return std::align_val_t{b.alignment};
}

const Giver give_free{kMalloc, [](Block& b) { free(b.address); }};
const Giver give_delete{kNew, [](Block& b) { ::operator delete(b.address); }};
const Giver give_delete_array{kNewArray, [](Block& b) { ::operator delete[](b.address); }};
const Giver give_delete_nothrow{kNew, [](Block& b) { ::operator delete(b.address, std::nothrow); }};
const Giver give_delete_array_nothrow{kNewArray,
                                      [](Block& b) { ::operator delete[](b.address, std::nothrow); }};
const Giver give_delete_sized{kNew, [](Block& b) { ::operator delete(b.address, b.bytes); }};
const Giver give_delete_array_sized{kNewArray, [](Block& b) { ::operator delete[](b.address, b.bytes); }};
const Giver give_delete_aligned{kNewAligned, [](Block& b) { ::operator delete(b.address, of(b)); }};
const Giver give_delete_array_aligned{kNewArrayAligned,
                                      [](Block& b) { ::operator delete[](b.address, of(b)); }};
const Giver give_delete_sized_aligned{kNewAligned,
                                      [](Block& b) { ::operator delete(b.address, b.bytes, of(b)); }};
const Giver give_delete_array_sized_aligned{kNewArrayAligned,
                                            [](Block& b) { ::operator delete[](b.address, b.bytes, of(b)); }};
const Giver give_delete_aligned_nothrow{kNewAligned,
                                        [](Block& b) { ::operator delete(b.address, of(b), std::nothrow); }};
const Giver give_delete_array_aligned_nothrow{
    kNewArrayAligned, [](Block& b) { ::operator delete[](b.address, of(b), std::nothrow); }};
const Giver give_munmap{kMap, [](Block& b) { munmap(b.address, b.bytes); }};

// The list itself, so that a function added to functions.def without a site here does not compile. mremap's
// site takes a block; OpenCV's functions have a program of their own.
Block take_mremap(std::size_t n) {
    return site_mremap(site_mmap(n), n + kPage, MREMAP_MAYMOVE);
}
#define TAKE_malloc(ID) site_##ID,
#define TAKE_mmap(ID) TAKE_mmap_##ID,
#define TAKE_mmap_mmap site_mmap
#define TAKE_mmap_mmap64 site_mmap64
#define TAKE_mmap_mremap take_mremap
#define TAKE_opencv(ID)
#define GIVE_malloc(ID) &give_##ID,
#define GIVE_mmap(ID) &give_##ID,
#define GIVE_opencv(ID)
const Take takes[] = {
#define UF_ALLOCATES(ID, SYMBOL, DOMAIN) TAKE_##DOMAIN(ID)
#define UF_FREES(ID, SYMBOL, DOMAIN)
#include "preload/contract/functions.def"
#undef UF_ALLOCATES
#undef UF_FREES
};
const Giver* const givers[] = {
#define UF_ALLOCATES(ID, SYMBOL, DOMAIN)
#define UF_FREES(ID, SYMBOL, DOMAIN) GIVE_##DOMAIN(ID)
#include "preload/contract/functions.def"
#undef UF_ALLOCATES
#undef UF_FREES
};
constexpr int kTakes = sizeof takes / sizeof *takes;
constexpr int kGivers = sizeof givers / sizeof *givers;

struct Random {
    uint64_t state;
    uint32_t below(uint32_t n) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<uint32_t>(((state >> 33) * n) >> 31);
    }
};

void give(Block block, Random& random) {
    if (!block.address) return;
    const Giver* giver;
    do giver = givers[random.below(kGivers)];
    while (giver->kind != block.kind);
    Block copy = block;
    books::gave(block);
    giver->give(copy);
}

// Shelves: blocks left for any thread to find and free.
constexpr int kShelves = 4096;
Block shelves[kShelves];
std::atomic_flag shelf_locks[kShelves];

Block exchange(int shelf, Block block) {
    while (shelf_locks[shelf].test_and_set(std::memory_order_acquire)) {
    }
    std::swap(shelves[shelf], block);
    shelf_locks[shelf].clear(std::memory_order_release);
    return block;
}

std::size_t some_bytes(Random& random) {
    static constexpr std::size_t kLimits[] = {1, 17, 33, 200, 200, 1000, 5000, 200000};
    return random.below(static_cast<uint32_t>(kLimits[random.below(8)]));
}

void work(Random& random, int rounds) {
    for (int i = 0; i < rounds; ++i) {
        const Take take = takes[random.below(kTakes)];
        const bool maps = take == site_mmap || take == site_mmap64 || take == take_mremap;
        Block block = take(maps ? kPage * (1 + random.below(8)) : some_bytes(random));
        if (block.kind == kMalloc && block.address && random.below(4) == 0) {
            switch (random.below(4)) {
                case 0:
                    block = site_realloc_grown(block, 1 + some_bytes(random));
                    break;  // in place or moved
                case 1:
                    block = site_realloc_grown(block, huge);
                    break;  // fails
                case 2:
                    block = site_realloc_to_zero(block);
                    break;
                default:
                    block = site_reallocarray_grown(block, 1 + random.below(300), 1 + random.below(20));
            }
        }
        give(exchange(static_cast<int>(random.below(kShelves)), block), random);
    }
}

void fail_in_every_way() {
    void* p = nullptr;
    if (malloc(huge) || calloc(huge, 16) || realloc(nullptr, huge) || reallocarray(nullptr, huge, 16) ||
        aligned_alloc(64, huge) || memalign(64, huge) || valloc(huge) || ::operator new(huge, std::nothrow) ||
        posix_memalign(&p, 64, huge) == 0 || mmap(nullptr, huge & ~(kPage - 1), ANONYMOUS) != MAP_FAILED)
        abort();
#ifndef LEDGER_NEW_FAILURE_ABORTS  // an allocator written in C cannot throw
    try {
        p = ::operator new(huge);
        abort();
    } catch (const std::bad_alloc&) {
    }
#endif
    free(nullptr);
    ::operator delete(nullptr);
    munmap(nullptr, 0);
}

void map_in_every_way() {
    // Unmaps n pages from page `from` on, less a bit of the last one: the kernel rounds up. What is left of a
    // mapping, in however many pieces, is one block.
    const auto cut = [](const Block& b, std::size_t from, std::size_t n, long long blocks_less,
                        std::size_t holes = 0) {
        if (munmap(static_cast<char*>(b.address) + from * kPage, n * kPage - (n > 1 ? 100 : 0)) != 0) abort();
        books::gave(*b.site, blocks_less, static_cast<long long>((n - holes) * kPage));
    };
    cut(site_mmap(16 * kPage), 0, 3, 0);     // front
    cut(site_mmap(16 * kPage), 14, 2, 0);    // back
    cut(site_mmap(16 * kPage), 5, 4, 0);     // middle: two pieces are left
    cut(site_mmap64(16 * kPage), 0, 16, 1);  // whole
    const Block split = site_mmap64(16 * kPage);
    cut(split, 2, 1, 0);
    cut(split, 6, 2, 0);
    cut(split, 0, 16, 1, 3);                                                       // the rest, holes and all
    shelves[0] = site_mremap(site_mmap(8 * kPage), 2 * kPage, 0);                  // shrinks
    shelves[1] = site_mremap(site_mmap(8 * kPage), 3000 * kPage, MREMAP_MAYMOVE);  // grows, moves if it must
    shelves[2] = site_mremap(site_mmap64(kPage), huge & ~(kPage - 1), MREMAP_MAYMOVE);  // fails
    shelves[3] = site_mremap_fixed(site_mmap(2 * kPage), site_mmap(2 * kPage));
    site_mmap_reserved();
    const Block under = site_mmap(10 * kPage);  // a fixed mapping over its middle: two pieces are left
    site_mmap_fixed(static_cast<char*>(under.address) + 4 * kPage, 2 * kPage);
    books::gave(*under.site, 0, 2 * kPage);
}

}  // namespace

// --- Where and when: before main, after it, in handlers, at a thread's end
// -------------------------------------
BOOKS_MALLOC(constructor)
BOOKS_MALLOC(static_object)
BOOKS_MALLOC(destructor)
BOOKS_MALLOC(static_object_destructor)
BOOKS_MALLOC(at_exit)
BOOKS_MALLOC(signal_handler)
BOOKS_MALLOC(thread_start)
BOOKS_MALLOC(thread_local_destructor)
BOOKS_MALLOC(key_destructor)

namespace {

Block from_constructor, freed_after_main, of_handler;
const char* books_path;

__attribute__((constructor)) void before_main() {
    from_constructor = site_constructor(111);
    freed_after_main = site_constructor(222);
}
struct StaticObject {
    StaticObject() { site_static_object(333); }
    ~StaticObject() { site_static_object_destructor(444); }
} static_object;
void at_exit() {
    site_at_exit(555);
}
__attribute__((destructor)) void after_main() {
    site_destructor(666);
    Random random{1};
    give(freed_after_main, random);
}
// Priority 101 comes last of all in this file: the books are closed.
__attribute__((destructor(101))) void close_books() {
    if (books_path) books::write_file(books_path);
}

void on_signal(int) {
    of_handler = site_signal_handler(777);
    site_signal_handler(11);
}

struct ThreadObject {
    Block block = site_thread_start(888);
    ~ThreadObject() {
        Random random{1};
        give(block, random);
        site_thread_local_destructor(99);
    }
};
thread_local ThreadObject thread_object;
pthread_key_t key;
void at_key_destruction(void*) {
    site_key_destructor(77);
}

int rounds = 6000;
void* thread_main(void* argument) {
    Random random{reinterpret_cast<uintptr_t>(argument)};
    asm volatile("" : : "r"(&thread_object) : "memory");
    pthread_setspecific(key, argument);
    work(random, rounds);
    return nullptr;
}

void run_threads(uintptr_t first_seed) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; ++i)
        if (pthread_create(&threads[i], nullptr, thread_main, reinterpret_cast<void*>(first_seed + i)) != 0)
            abort();
    for (pthread_t thread : threads) pthread_join(thread, nullptr);
}

[[noreturn]] void end_as(const char* end) {
    books::write_file(books_path);
    books_path = nullptr;
    if (!strcmp(end, "_exit")) _exit(7);
    if (!strcmp(end, "exit_group")) syscall(SYS_exit_group, 8);
    if (!strcmp(end, "abort")) abort();
    if (!strcmp(end, "segv")) *nowhere = 1;
    if (!strcmp(end, "sigkill")) kill(getpid(), SIGKILL);
    if (!strcmp(end, "wait"))
        for (;;) pause();
    _exit(98);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    books_path = argv[1];
    if (argc > 3) rounds = atoi(argv[3]);
    pthread_key_create(&key, at_key_destruction);
    atexit(at_exit);
    map_in_every_way();
    run_threads(1);
    fail_in_every_way();
    signal(SIGUSR2, on_signal);
    raise(SIGUSR2);
    Random random{99};
    give(of_handler, random);
    give(from_constructor, random);
    work(random, rounds);
    run_threads(11);
    if (!strcmp(argv[2], "return")) return 5;
    if (!strcmp(argv[2], "exit")) exit(6);
    end_as(argv[2]);
}
