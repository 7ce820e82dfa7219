#include <catch2/catch.hpp>

#include "tests/unit/bpf/fake_stack.h"

namespace {

uf_frame frame_at(std::uint64_t pc, std::uint64_t sp, std::uint64_t bp) {
    return {{pc, sp, bp}, 0, 0, 0};
}
uf_rule rule(unsigned cfa_kind, int cfa, unsigned rbp_kind = UF_RBP_SAME, int rbp = 0) {
    return {static_cast<std::int16_t>(cfa), static_cast<std::int8_t>(rbp),
            static_cast<std::uint8_t>(cfa_kind | rbp_kind << 4)};
}

}  // namespace

TEST_CASE("a frame by rsp gives its return address and keeps rbp") {
    FakeStack stack{{0x1010, 0x4000}};
    uf_frame frame = frame_at(0x3000, 0x1000, 0x77);
    CHECK(uf_step(&stack, &frame, rule(UF_CFA_RSP, 3)) == UF_END_NONE);
    CHECK(frame.at.pc == 0x4000);
    CHECK(frame.at.sp == 0x1018);
    CHECK(frame.at.bp == 0x77);
    CHECK(frame.slot == 0x1010);
    CHECK(uf_lookup_pc(&frame) == 0x3fff);
}

TEST_CASE("a frame by rbp takes the caller's rbp from where the rule says") {
    FakeStack stack{{0x2000, 0x2100}, {0x2008, 0x4000}};
    uf_frame frame = frame_at(0x3000, 0x1000, 0x2000);
    CHECK(uf_step(&stack, &frame, rule(UF_CFA_RBP, 2, UF_RBP_AT_CFA, -2)) == UF_END_NONE);
    CHECK(frame.at.bp == 0x2100);
    CHECK(frame.at.sp == 0x2010);
}

TEST_CASE("a realigned frame finds its CFA through rbp") {
    FakeStack stack{{0x1ff8, 0x3000}, {0x2ff8, 0x4000}, {0x2000, 0x55}};
    uf_frame frame = frame_at(0x3000, 0x1000, 0x2000);
    CHECK(uf_step(&stack, &frame, rule(UF_CFA_RBP_DEREF, -1, UF_RBP_AT_RBP, 0)) == UF_END_NONE);
    CHECK(frame.at.pc == 0x4000);
    CHECK(frame.at.sp == 0x3000);
    CHECK(frame.at.bp == 0x55);
}

TEST_CASE("a linkage stub has pushed one word more from its byte 11 on") {
    FakeStack stack{{0x1000, 0x4000}, {0x1008, 0x5000}};
    uf_frame early = frame_at(0x3006, 0x1000, 0);
    uf_frame late = frame_at(0x300b, 0x1000, 0);
    CHECK(uf_step(&stack, &early, rule(UF_CFA_PLT, 1)) == UF_END_NONE);
    CHECK(uf_step(&stack, &late, rule(UF_CFA_PLT, 1)) == UF_END_NONE);
    CHECK(early.at.pc == 0x4000);
    CHECK(late.at.pc == 0x5000);
}

TEST_CASE("over a signal frame the interrupted instruction is exact") {
    FakeStack stack{
        {0x1000 + UF_SIGFRAME_RIP, 0x4000}, {0x1000 + UF_SIGFRAME_RSP, 0x900}, {0x1000 + UF_SIGFRAME_RBP, 7}};
    uf_frame frame = frame_at(0x3000, 0x1000, 0);
    CHECK(uf_step(&stack, &frame, rule(UF_CFA_SIGNAL, 0)) == UF_END_NONE);
    CHECK(frame.exact == 1);
    CHECK(uf_lookup_pc(&frame) == 0x4000);
    CHECK(frame.at.sp == 0x900);  // on a signal stack of its own the interrupted stack may lie below
}

TEST_CASE("code without a row is walked by frame pointer") {
    FakeStack stack{{0x2000, 0x2100}, {0x2008, 0x4000}};
    uf_frame frame = frame_at(0x3000, 0x1000, 0x2000);
    CHECK(uf_step(&stack, &frame, rule(UF_CFA_NO_ROW, 0)) == UF_END_NONE);
    CHECK(frame.at.pc == 0x4000);
    CHECK(frame.at.sp == 0x2010);
    CHECK(frame.at.bp == 0x2100);
}

TEST_CASE("a walk ends with its reason") {
    FakeStack stack{{0x1000, 0}, {0x2000, 0x2100}, {0x2008, 0}};
    const auto end = [&](uf_rule how, std::uint64_t bp) {
        uf_frame frame = frame_at(0x3000, 0x1000, bp);
        return uf_step(&stack, &frame, how);
    };
    CHECK(end(rule(UF_CFA_END, 0), 0) == UF_END_REACHED);
    CHECK(end(rule(UF_CFA_RSP, 1), 0) == UF_END_REACHED);     // a return address of 0
    CHECK(end(rule(UF_CFA_NO_ROW, 0), 0) == UF_END_REACHED);  // rbp is 0 in the outermost frame
    CHECK(end(rule(UF_CFA_NO_ROW, 0), 0x2000) == UF_END_REACHED);
    CHECK(end(rule(UF_CFA_NO_ROW, 0), 0x2001) == UF_END_LOST);  // no frame pointer
    CHECK(end(rule(UF_CFA_NO_ROW, 0), 0x7000) == UF_END_LOST);
    CHECK(end(rule(UF_CFA_RSP, 5), 0) == UF_END_UNREADABLE);
    CHECK(end(rule(UF_CFA_RBP, 1), 0x100) == UF_END_LOST);  // the caller's frame cannot lie below
    CHECK(end(rule(UF_CFA_UNSUPPORTED, 0), 0) == UF_END_UNSUPPORTED);
}

TEST_CASE("the id of a stack depends on the order of its frames") {
    CHECK(uf_mix(uf_mix(1, 2), 3) != uf_mix(uf_mix(1, 3), 2));
}
