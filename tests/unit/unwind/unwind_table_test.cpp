#include "symbolizer/unwind/unwind_table.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/unit/unwind/frame_builder.h"

namespace {
using namespace unfreed::unwind;
using unfreed::unwind::testing::FrameBuilder;

constexpr AddressRange kCode{0x1000, 0x9000};

UnwindTable compile(const FrameBuilder& builder) {
    const FrameSection section{builder.bytes(), FrameBuilder::kAddress, false};
    return compile_sections({&section, 1}, {&kCode, 1});
}

}  // namespace

TEST_CASE("a function that pushes rbp has one row per step of its prologue") {
    FrameBuilder builder;
    builder.cie();
    // push rbp (1 byte): advance 1, def_cfa_offset 16, offset rbp at cfa-16; mov rsp,rbp: advance 3, register
    // rbp
    builder.fde(0x2000, 0x40, {0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6});
    const auto table = compile(builder);
    REQUIRE(table.rows.size() == 4);
    CHECK(table.base == 0x1000);
    CHECK(rule_at(table, 0x2000).kind == UF_CFA_RSP);
    CHECK(rule_at(table, 0x2000).cfa == 1);
    CHECK(rule_at(table, 0x2001).kind == (UF_CFA_RSP | UF_RBP_AT_CFA << 4));
    CHECK(rule_at(table, 0x2001).cfa == 2);
    CHECK(rule_at(table, 0x2001).rbp == -2);
    CHECK(rule_at(table, 0x203f).kind == (UF_CFA_RBP | UF_RBP_AT_CFA << 4));
    CHECK(rule_at(table, 0x2040).kind == UF_CFA_NO_ROW);
    CHECK(rule_at(table, 0x1fff).kind == UF_CFA_NO_ROW);
}

TEST_CASE("functions are sorted, and neighbours with the same rule share a row") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x3000, 0x10, {});
    builder.fde(0x2000, 0x10, {});
    builder.fde(0x2010, 0x10, {});
    const auto table = compile(builder);
    REQUIRE(table.rows.size() == 4);
    CHECK(table.rows[0].pc == 0x1000);
    CHECK(table.rows[1].pc == 0x1020);
    CHECK(table.rows[1].rule.kind == UF_CFA_NO_ROW);
    CHECK(table.rows[2].pc == 0x2000);
    CHECK(table.functions == 3);
}

TEST_CASE("of two entries for one place the first section's counts") {
    FrameBuilder first;
    first.cie();
    first.fde(0x2000, 0x10, {});
    FrameBuilder second;
    second.cie();
    second.fde(0x2000, 0x10, {0x0e, 64});
    second.fde(0x2010, 0x10, {0x0e, 64});
    const FrameSection sections[]{{first.bytes(), FrameBuilder::kAddress, false},
                                  {second.bytes(), FrameBuilder::kAddress, false}};
    const auto table = compile_sections(sections, {&kCode, 1});
    CHECK(rule_at(table, 0x2000).cfa == 1);
    CHECK(rule_at(table, 0x2010).cfa == 8);
}

TEST_CASE("an entry outside of the code is left out") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x0, 0x10, {});
    builder.fde(0x8ff8, 0x10, {});
    CHECK(compile(builder).rows.empty());
}

TEST_CASE("an offset that a row cannot hold is unsupported, not wrong") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x10, {0x0e, 0x80, 0x80, 0x80, 0x01});  // 2 MB
    builder.fde(0x2100, 0x10, {0x0e, 12});                      // not in words
    const auto table = compile(builder);
    CHECK(rule_at(table, 0x2000).kind == UF_CFA_UNSUPPORTED);
    CHECK(rule_at(table, 0x2100).kind == UF_CFA_UNSUPPORTED);
}

TEST_CASE("an undefined return address ends the stack") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x10, {0x07, 16});
    CHECK(rule_at(compile(builder), 0x2008).kind == UF_CFA_END);
}

TEST_CASE("remembered states come back") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x10, {0x0e, 32, 0x0a, 0x44, 0x0e, 8, 0x44, 0x0b});
    const auto table = compile(builder);
    CHECK(rule_at(table, 0x2000).cfa == 4);
    CHECK(rule_at(table, 0x2004).cfa == 1);
    CHECK(rule_at(table, 0x2008).cfa == 4);
}

TEST_CASE("the vdso's image in memory compiles") {
    const auto address = getauxval(AT_SYSINFO_EHDR);
    if (address == 0) {
        WARN("skipped: no vdso here");
        return;
    }
    const auto table = compile_image({reinterpret_cast<const std::byte*>(address), 8192});
    CHECK_FALSE(table.rows.empty());
}

TEST_CASE("a file that is no ELF file has no rows") {
    const int descriptor = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    REQUIRE(descriptor >= 0);
    CHECK(compile_file(descriptor).rows.empty());
    close(descriptor);
}
