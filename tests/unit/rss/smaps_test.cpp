// Mappings by text as the kernel prints it, and pages by what claims them.
#include "userspace/rss/smaps.h"

#include <catch2/catch.hpp>

#include "userspace/rss/measure.h"

namespace {
using namespace unfreed::rss;

constexpr const char* kText =
    "55d0c0a00000-55d0c0a02000 r--p 00003000 fd:01 1312 /usr/bin/with space\n"
    "Size:                  8 kB\n"
    "Rss:                   8 kB\n"
    "Pss:                   4 kB\n"
    "Swap:                  0 kB\n"
    "VmFlags: rd mr mw me sd \n"
    "55d0c0a02000-55d0c0a03000 rw-p 00005000 fd:01 1312 /usr/bin/with space\n"
    "Rss:                   4 kB\n"
    "55d0c0a03000-55d0c0a05000 rw-p 00000000 00:00 0 \n"
    "Rss:                   8 kB\n"
    "55d0c1000000-55d0c1100000 rw-p 00000000 00:00 0                          [heap]\n"
    "Rss:                 500 kB\n"
    "Swap:                 12 kB\n"
    "SwapPss:               6 kB\n"
    "7f0000000000-7f0000004000 rw-s 00000000 00:01 77 /memfd:shared (deleted)\n"
    "Rss:                  16 kB\n"
    "7f1000000000-7f1000800000 rw-p 00000000 00:00 0 \n"
    "Rss:                 128 kB\n"
    "LazyFree:             64 kB\n"
    "7f2000000000-7f2000800000 rw-p 00000000 00:00 0 [anon:partition_alloc]\n"
    "Rss:                 100 kB\n"
    "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n"
    "Rss:                  20 kB\n"
    "7ffd00030000-7ffd00032000 r-xp 00000000 00:00 0                          [vdso]\n"
    "Rss:                   4 kB\n";

constexpr std::uint64_t kPage = kPageBytes;

}  // namespace

TEST_CASE("smaps gives every mapping with its sizes in bytes") {
    const auto mappings = parse_smaps(kText);
    REQUIRE(mappings.size() == 9);
    CHECK(mappings[0].name == "/usr/bin/with space");
    CHECK(mappings[0].start == 0x55d0c0a00000);
    CHECK(mappings[0].end == 0x55d0c0a02000);
    CHECK(mappings[0].offset == 0x3000);
    CHECK(mappings[0].inode == 1312);
    CHECK(mappings[0].rss == 8192);
    CHECK(mappings[0].pss == 4096);
    CHECK(mappings[3].swap == 12 * 1024);
    CHECK(mappings[3].swap_pss == 6 * 1024);
    CHECK(mappings[5].lazy_free == 64 * 1024);
    CHECK(mappings[5].name.empty());
}

TEST_CASE("a mapping is told by its name, its neighbour and the threads' stack pointers") {
    const auto mappings = parse_smaps(kText);
    const std::vector<std::uint64_t> stacks{0x7f1000001000};
    const auto kind = [&](std::size_t i) {
        return part_of(mappings[i], i == 0 ? nullptr : &mappings[i - 1], stacks).kind;
    };
    CHECK(kind(0) == Kind::kPrivateFiles);
    CHECK(kind(2) == Kind::kPrivateFiles);  // bss
    CHECK(kind(3) == Kind::kMallocArena);
    CHECK(kind(4) == Kind::kSharedMemory);
    CHECK(kind(5) == Kind::kThreadStacks);
    CHECK(kind(6) == Kind::kPartitionAlloc);
    CHECK(kind(7) == Kind::kThreadStacks);
    CHECK(kind(8) == Kind::kKernel);
    CHECK(part_of(mappings[5], nullptr, {}).kind == Kind::kAnonymous);
    Mapping code = mappings[5];
    code.permissions = "rwxp";
    CHECK(part_of(code, nullptr, {}).kind == Kind::kJit);
}

TEST_CASE("text that is no smaps gives no mapping") {
    CHECK(parse_smaps("").empty());
    CHECK(parse_smaps("Rss: 4 kB\n\nnonsense\n55d0-\n-55d0 rw-p\n2-1 rw-p 0 0 0\n").empty());
}

TEST_CASE("claimed pages go to their part, the rest to the mapping's, and nothing is counted twice") {
    Mapping mapping;
    mapping.start = 0x10000;
    mapping.end = 0x10000 + 8 * kPage;
    mapping.rss = mapping.pss = 4 * kPage;
    mapping.swap = kPage;
    const std::vector<PageState> pages{PageState::kResident, PageState::kResident, PageState::kNone,
                                       PageState::kSwapped,  PageState::kResident, PageState::kResident,
                                       PageState::kNone,     PageState::kNone};
    const std::vector<Claim> claims{{0x10000 + kPage, 0x10000 + 4 * kPage, {Kind::kGoStacks, 0, {}}},
                                    {0x10000 + 5 * kPage, 0x20000, {Kind::kGoHeapInUse, 0, {}}}};
    std::map<Part, Amount> parts;
    add_pages(mapping, {Kind::kGoHeapIdle, 0, {}}, claims, pages, parts);
    CHECK(parts[(Part{Kind::kGoStacks, 0, {}})].rss == kPage);
    CHECK(parts[(Part{Kind::kGoStacks, 0, {}})].swap == kPage);
    CHECK(parts[(Part{Kind::kGoHeapInUse, 0, {}})].rss == kPage);
    CHECK(parts[(Part{Kind::kGoHeapIdle, 0, {}})].rss == 2 * kPage);
    CHECK(parts[(Part{Kind::kGoHeapIdle, 0, {}})].swap == 0);
}

TEST_CASE("pages that came after the kernel's sums were read do not add to them") {
    Mapping mapping;
    mapping.start = 0;
    mapping.end = 4 * kPage;
    mapping.rss = 2 * kPage;
    const std::vector<PageState> pages(4, PageState::kResident);
    std::map<Part, Amount> parts;
    add_pages(mapping, {Kind::kAnonymous, 0, {}}, {{0, 4 * kPage, {Kind::kGoStacks, 0, {}}}}, pages, parts);
    CHECK(parts.size() == 1);
    CHECK(parts[(Part{Kind::kGoStacks, 0, {}})].rss == 2 * kPage);
}
