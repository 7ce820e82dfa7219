#include "userspace/capture/ebpf/block_sites.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/unit/bpf/code_bytes.h"

namespace {
using namespace unfreed::ebpf;
using testing::code;

// malloc, which looks at the first argument alone, or calloc.
using Allocate = void* (*)(std::size_t, std::size_t);

// A process that calls `allocate` for many sizes, first as its only thread, and is stepped through.
pid_t start_stepped(Allocate allocate) {
    const pid_t child = fork();
    if (child != 0) return child;
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    raise(SIGSTOP);
    const auto work = [&] {
        // Sizes that memset clears word by word: `rep stos` is stepped through byte by byte.
        for (const std::size_t size : {0, 1, 24, 24, 100, 600, 1100, 1300, 1 << 26, 24}) {
            void* volatile block = allocate(size, 1);
            void* volatile second = allocate(size / 2 + 1, 2);
            (void)block, (void)second;
        }
        volatile std::size_t too_much = SIZE_MAX / 4;
        void* volatile none = allocate(too_much, 2);
        (void)none;
    };
    work();
    std::thread([] {}).detach();  // libc takes its locks from now on
    work();
    _exit(0);
}

struct Call {
    std::uint64_t size = 0;
    std::uint64_t sp = 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> blocks;  // rax not null at a site, and the size told
    std::uint64_t told = UINT64_MAX;
};

std::uint64_t value(const user_regs_struct& registers, unsigned number) {
    const std::array<std::uint64_t, 16> all{registers.rax, registers.rcx, registers.rdx, registers.rbx,
                                            registers.rsp, registers.rbp, registers.rsi, registers.rdi,
                                            registers.r8,  registers.r9,  registers.r10, registers.r11,
                                            registers.r12, registers.r13, registers.r14, registers.r15};
    return all[number];
}

void pass(const BlockSites& sites, std::uint64_t entry, const user_regs_struct& registers, Call& call) {
    const std::uint64_t offset = registers.rip - entry;
    for (const SizeSite& site : sites.sizes) {
        if (site.place.offset == offset && registers.rsp + site.place.depth == call.sp)
            call.told = value(registers, site.size);
    }
    for (const BlockSite& site : sites.blocks) {
        if (site.place.offset != offset || registers.rsp + site.place.depth != call.sp || registers.rax == 0)
            continue;
        call.blocks.emplace_back(registers.rax, site.size ? value(registers, *site.size) : call.told);
    }
}

void step_through(const char* symbol, SizeOf size_of) {
    void* const libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    REQUIRE(libc != nullptr);
    const auto allocate = reinterpret_cast<Allocate>(dlsym(libc, symbol));
    Dl_info info{};
    const ElfW(Sym)* description = nullptr;
    REQUIRE(dladdr1(reinterpret_cast<void*>(allocate), &info,
                    const_cast<void**>(reinterpret_cast<const void**>(&description)), RTLD_DL_SYMENT) != 0);
    const auto entry = reinterpret_cast<std::uint64_t>(allocate);
    // libc's own stub for memset: jmp *slot(%rip), endbr64 before it or not.
    const auto is_memset = [&](std::uint64_t offset) {
        const auto* stub = reinterpret_cast<const unsigned char*>(entry + offset);
        if (stub[0] == 0xf3) stub += 4;
        if (stub[0] != 0xff || stub[1] != 0x25) return false;
        std::int32_t distance = 0;
        std::memcpy(&distance, stub + 2, sizeof distance);
        void* target = nullptr;
        std::memcpy(&target, stub + 6 + distance, sizeof target);
        return target == dlsym(libc, "memset");
    };
    const auto sites = find_block_sites(
        {reinterpret_cast<const std::byte*>(allocate), static_cast<std::size_t>(description->st_size)},
        size_of, is_memset);
    REQUIRE(sites);
    CHECK(sites->blocks.size() > 1);

    const pid_t child = start_stepped(allocate);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSTOPPED(status));  // else: nobody may be traced here
    Call call;
    bool open = false;
    std::size_t calls = 0, failed = 0;
    while (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 && waitpid(child, &status, 0) == child &&
           WIFSTOPPED(status)) {
        user_regs_struct registers{};
        REQUIRE(ptrace(PTRACE_GETREGS, child, nullptr, &registers) == 0);
        if (!open && registers.rip == entry) {
            const std::uint64_t size =
                size_of == SizeOf::kFirst ? registers.rdi : registers.rdi * registers.rsi;
            call = {size, registers.rsp, {}, UINT64_MAX};
            open = true;
        } else if (open && registers.rsp == call.sp + 8) {
            open = false;
            ++calls;
            CAPTURE(call.size);
            if (registers.rax == 0) {
                ++failed;
                CHECK(call.blocks.empty());
            } else {
                REQUIRE(call.blocks.size() == 1);
                CHECK(call.blocks[0] == std::pair<std::uint64_t, std::uint64_t>(registers.rax, call.size));
            }
        } else if (open) {
            pass(*sites, entry, registers, call);
        }
    }
    CHECK(WIFEXITED(status));
    CHECK(calls >= 42);
    CHECK(failed >= 2);
}

std::optional<BlockSites> find(std::initializer_list<int> bytes) {
    return find_block_sites(code(bytes), SizeOf::kFirst, [](std::uint64_t) { return false; });
}

}  // namespace

TEST_CASE("each call of libc's malloc passes one site, with the block and the size") {
    step_through("malloc", SizeOf::kFirst);
}

TEST_CASE("each call of libc's calloc passes one site, with the block and the product") {
    step_through("calloc", SizeOf::kProduct);
}

TEST_CASE("what memset is given last is what it returns") {
    // push %rbx; call; test %rax,%rax; je null; mov %rax,%rdi; pop %rbx; jmp elsewhere; null: pop %rbx; ret
    const auto bytes = code({0x53, 0xe8, 0,    1,    0,    0, 0x48, 0x85, 0xc0, 0x74, 9,
                             0x48, 0x89, 0xc7, 0x5b, 0xe9, 0, 1,    0,    0,    0x5b, 0xc3});
    CHECK_FALSE(find_block_sites(bytes, SizeOf::kFirst, [](std::uint64_t) { return false; }));
    const auto sites =
        find_block_sites(bytes, SizeOf::kFirst, [](std::uint64_t offset) { return offset == 0x114; });
    REQUIRE(sites);
    REQUIRE(sites->blocks.size() == 1);
    CHECK(sites->blocks[0].place.offset == 9);
}

TEST_CASE("a block is known once nothing else can be returned") {
    // push %rbx; call; test %rax,%rax; je; pop %rbx; ret; pop %rbx; ret
    const auto sites = find({0x53, 0xe8, 0, 1, 0, 0, 0x48, 0x85, 0xc0, 0x74, 0x02, 0x5b, 0xc3, 0x5b, 0xc3});
    REQUIRE(sites);
    REQUIRE(sites->blocks.size() == 1);
    CHECK(sites->blocks[0].place.offset == 9);
    CHECK(sites->blocks[0].place.depth == 8);
    CHECK_FALSE(sites->blocks[0].size);
    REQUIRE(sites->sizes.size() == 1);
    CHECK(sites->sizes[0].place.offset == 1);
    CHECK(sites->sizes[0].size == 7);
}

TEST_CASE("a size that is kept in another register is found there") {
    // push %rbx; mov %rdi,%rbx; call; test %rax,%rax; je; pop %rbx; ret; pop %rbx; ret
    const auto sites = find(
        {0x53, 0x48, 0x89, 0xfb, 0xe8, 0, 1, 0, 0, 0x48, 0x85, 0xc0, 0x74, 0x02, 0x5b, 0xc3, 0x5b, 0xc3});
    REQUIRE(sites);
    REQUIRE(sites->blocks.size() == 1);
    CHECK(sites->blocks[0].size == 3u);
    CHECK(sites->sizes.empty());
}

TEST_CASE("the caller's rbp is found where it was pushed, or in rbp") {
    // push %rbx; push %rbp; mov %rsp,%rbp; call; test %rax,%rax; je; [je:] pop %rbp; pop %rbx; ret
    const auto pushed =
        find({0x53, 0x55, 0x48, 0x89, 0xe5, 0xe8, 0, 1, 0, 0, 0x48, 0x85, 0xc0, 0x74, 0, 0x5d, 0x5b, 0xc3});
    REQUIRE(pushed);
    CHECK(pushed->blocks[0].place.rbp == 3);
    const auto kept = find({0x53, 0xe8, 0, 1, 0, 0, 0x48, 0x85, 0xc0, 0x74, 0, 0x5b, 0xc3});
    REQUIRE(kept);
    CHECK(kept->blocks[0].place.rbp == 0);
}

TEST_CASE("a block that may be given back before the return is none: null is returned instead") {
    // push %rbx; call; test %ecx,%ecx; je over; xor %eax,%eax; over: pop %rbx; ret
    CHECK_FALSE(find({0x53, 0xe8, 0, 1, 0, 0, 0x85, 0xc9, 0x74, 0x02, 0x31, 0xc0, 0x5b, 0xc3}));
}

TEST_CASE("a block that is moved before the return is not known by then") {
    // push %rbx; call; test %ecx,%ecx; je over; add $16,%rax; over: pop %rbx; ret
    CHECK_FALSE(find({0x53, 0xe8, 0, 1, 0, 0, 0x85, 0xc9, 0x74, 0x04, 0x48, 0x83, 0xc0, 0x10, 0x5b, 0xc3}));
}

TEST_CASE("a function that hands over to another one returns what nobody here knows") {
    // test %rdi,%rdi; je out: jmp elsewhere
    CHECK_FALSE(find({0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xe9, 0, 1, 0, 0}));
}

TEST_CASE("a jump by a table leads nobody knows where") {
    CHECK_FALSE(find({0xff, 0xe0}));  // jmp *%rax
}

TEST_CASE("a stack pointer that is computed has no depth") {
    // and $-16,%rsp; call; test %rax,%rax; je +1; ret; ret
    CHECK_FALSE(find({0x48, 0x83, 0xe4, 0xf0, 0xe8, 0, 1, 0, 0, 0x48, 0x85, 0xc0, 0x74, 0x01, 0xc3, 0xc3}));
}

TEST_CASE("no code, or what is none, has no sites") {
    CHECK_FALSE(find({}));
    CHECK_FALSE(find({0x06}));
    CHECK_FALSE(find({0x53, 0xe8, 0}));  // ends amidst
}

TEST_CASE("a null that comes by another register is a null: Chromium's operator new") {
    // push %rbx; call; test; jne have; xor %ebx,%ebx; jmp out; have: mov %rax,%rbx; out: mov %rbx,%rax; pop;
    // ret
    const auto sites = find({0x53, 0xe8, 0, 1,    0,    0,    0x48, 0x85, 0xc0, 0x75, 4,   0x31,
                             0xdb, 0xeb, 3, 0x48, 0x89, 0xc3, 0x48, 0x89, 0xd8, 0x5b, 0xc3});
    REQUIRE(sites);
    REQUIRE(sites->blocks.size() == 1);
    CHECK(sites->blocks[0].place.offset == 9);
}
