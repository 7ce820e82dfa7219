#include "userspace/capture/ebpf/probe_site.h"

#include <catch2/catch.hpp>

#include "tests/unit/bpf/code_bytes.h"

namespace {
using namespace unfreed::ebpf;
using testing::code;
}  // namespace

TEST_CASE("a push at the entry is taken: push %r12; push %rbp") {
    const auto site = choose_probe_site(code({0x41, 0x54, 0x55}), 1, true);
    CHECK(site.offset == 0);
    CHECK(site.emulated);
}

TEST_CASE("glibc's free is probed on its jump: test %rdi,%rdi; je") {
    const auto site = choose_probe_site(code({0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55}), 1, false);
    CHECK(site.offset == 3);
    CHECK(site.emulated);
}

TEST_CASE("endbr64 is passed over: endbr64; push %rbx") {
    const auto site = choose_probe_site(code({0xf3, 0x0f, 0x1e, 0xfa, 0x53}), 2, true);
    CHECK(site.offset == 4);
    CHECK(site.emulated);
}

TEST_CASE("a probe comes before its argument is overwritten: mov %esi,%edi; push %rbx") {
    const auto site = choose_probe_site(code({0x89, 0xf7, 0x53}), 1, false);
    CHECK(site.offset == 0);
    CHECK_FALSE(site.emulated);
}

TEST_CASE("an argument that is not asked for may be overwritten: mov %rdi,%rsi; push %rbx") {
    CHECK(choose_probe_site(code({0x48, 0x89, 0xfe, 0x53}), 1, false).offset == 3);
    CHECK(choose_probe_site(code({0x48, 0x89, 0xfe, 0x53}), 2, false).offset == 0);
}

TEST_CASE("a return probe comes before the stack has moved: sub $16,%rsp; push %rbx") {
    CHECK(choose_probe_site(code({0x48, 0x83, 0xec, 0x10, 0x53}), 1, true).offset == 0);
    CHECK(choose_probe_site(code({0x48, 0x83, 0xec, 0x10, 0x53}), 1, false).offset == 4);
}

TEST_CASE("an instruction that the function jumps back to is passed more than once") {
    // xor %eax,%eax; push %rbx; pop %rbx; jmp back to the push
    CHECK(choose_probe_site(code({0x31, 0xc0, 0x53, 0x5b, 0xeb, 0xfc}), 1, false).offset == 0);
}

TEST_CASE("calls are found by their target") {
    const auto bytes = code({0x90, 0xe8, 0x0a, 0, 0, 0, 0xc3});
    CHECK(calls(bytes, 0x1000, 0x1010));
    CHECK_FALSE(calls(bytes, 0x1000, 0x1011));
}

TEST_CASE("no code, no site: the entry") {
    CHECK(choose_probe_site({}, 1, true).offset == 0);
    CHECK_FALSE(choose_probe_site({}, 1, true).emulated);
}
