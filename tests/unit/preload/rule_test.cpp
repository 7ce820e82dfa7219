// Which frames a 16-byte rule expresses, and which it leaves to the full walk.
#include "preload/rule.h"

#include <catch2/catch.hpp>

#include "tests/unit/preload/eh_frame_builder.h"

namespace unfreed::preload {
namespace {

Rule rule_of(const Bytes& instructions, uint64_t offset = 0, const char* augmentation = "zR") {
    EhFrameBuilder builder;
    builder.augmentation = augmentation;
    builder.instructions = instructions;
    const CodeObject object = builder.build();
    return make_rule(&object, EhFrameBuilder::kFunction + offset);
}

const Bytes kReturnAddressElsewhere{0x90, 2};  // at CFA - 16

}

TEST_CASE("a rule carries the pc that it is for") {
    CHECK(rule_of({}, 7).pc == EhFrameBuilder::kFunction + 7);
}

TEST_CASE("code of no object and code without a row have no unwind information") {
    CHECK(make_rule(nullptr, EhFrameBuilder::kFunction).cfa == kCfaNoCfi);
    CHECK(rule_of({}, EhFrameBuilder::kFunctionSize).cfa == kCfaNoCfi);
}

TEST_CASE("CFA from sp, with rbp untouched") {
    const Rule rule = rule_of({0x0e, 24});
    CHECK(rule.cfa == kCfaSp);
    CHECK(rule.cfa_offset == 24);
    CHECK(rule.rbp == kRbpSame);
}

TEST_CASE("CFA from rbp, which is saved below the return address") {
    const Rule rule = rule_of({0x0e, 16, 0x86, 2, 0x0d, 6});
    CHECK(rule.cfa == kCfaRbp);
    CHECK(rule.cfa_offset == 16);
    CHECK(rule.rbp == kRbpAtCfa);
    CHECK(rule.rbp_offset == -16);
}

TEST_CASE("a realigned stack: CFA saved at rbp - 8, rbp saved at rbp") {
    const Rule rule = rule_of({0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0});
    CHECK(rule.cfa == kCfaDerefRbp);
    CHECK(rule.cfa_offset == -8);
    CHECK(rule.rbp == kRbpAtRbp);
    CHECK(rule.rbp_offset == 0);
}

TEST_CASE("a PLT's expression is a constant at each pc") {
    // sp + 8 + ((rip & 15) >= 11) * 8
    const Bytes plt{0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
    CHECK(rule_of(plt, 10).cfa == kCfaSp);
    CHECK(rule_of(plt, 10).cfa_offset == 8);
    CHECK(rule_of(plt, 11).cfa_offset == 16);
    CHECK(rule_of(plt, 16).cfa_offset == 8);
}

TEST_CASE("an undefined return address is the stack's end") {
    CHECK(rule_of({0x07, 16}).cfa == kCfaOutermost);
}

TEST_CASE("so is a return address where a function begins") {
    CHECK(rule_of({}, static_cast<uint64_t>(-1)).cfa == kCfaOutermost);
    CHECK(rule_of({}, static_cast<uint64_t>(-2)).cfa == kCfaNoCfi);
}

TEST_CASE("what a rule cannot express is left to the full walk") {
    CHECK(rule_of({}, 0, "zRS").cfa == kCfaFull);                    // a signal frame
    CHECK(rule_of({0x0d, 10}).cfa == kCfaFull);                      // CFA from r10
    CHECK(rule_of(kReturnAddressElsewhere).cfa == kCfaFull);         //
    CHECK(rule_of({0x09, 16, 1}).cfa == kCfaFull);                   // the return address in rdx
    CHECK(rule_of({0x08, 16}).cfa == kCfaFull);                      // the return address is the pc
    CHECK(rule_of({0x14, 7, 1}).cfa == kCfaFull);                    // the caller's sp is not the CFA
    CHECK(rule_of({0x07, 6}).cfa == kCfaFull);                       // rbp is lost
    CHECK(rule_of({0x09, 6, 3}).cfa == kCfaFull);                    // rbp in rbx
    CHECK(rule_of(Bytes{0x86} + uleb(5000)).cfa == kCfaFull);        // rbp further from the CFA than 32 KB
    CHECK(rule_of({0x10, 6, 3, 0x76, 0, 0x06}).cfa == kCfaFull);     // rbp saved at *rbp
    CHECK(rule_of({0x0f, 4, 0x77, 8, 0x06, 0x06}).cfa == kCfaFull);  // CFA = **(sp + 8)
    CHECK(rule_of({0x0f, 3, 0x77, 8, 0x06}).cfa == kCfaFull);        // CFA = *(sp + 8)
    CHECK(rule_of({0x0f, 1, 0x96}).cfa == kCfaFull);                 // an expression without a value
    CHECK(rule_of({0x0f, 5, 0x30, 0x30, 0x30, 0x30, 0x30}).cfa == kCfaFull);  // or with too many
}

}
