// Rows of hand-made tables: what the system's libraries do not contain, and what is broken.
#include "preload/cfi.h"

#include <catch2/catch.hpp>

#include "tests/unit/preload/eh_frame_builder.h"

namespace unfreed::preload {
namespace {

constexpr uint64_t kFunction = EhFrameBuilder::kFunction;

CfiRow row_at(EhFrameBuilder& builder, uint64_t offset) {
    CfiRow row;
    REQUIRE(find_cfi_row(builder.build(), kFunction + offset, &row));
    return row;
}

bool has_row(EhFrameBuilder& builder, uint64_t offset) {
    CfiRow row;
    return find_cfi_row(builder.build(), kFunction + offset, &row);
}

}

TEST_CASE("without a search table the section itself is walked") {
    EhFrameBuilder builder;
    const CfiRow row = row_at(builder, 0);
    CHECK(row.cfa_register == kRspRegister);
    CHECK(row.cfa_value == 8);
    CHECK(row.rule[kReturnAddress] == RegisterRule::kOffset);
    CHECK(row.value[kReturnAddress] == -8);
    CHECK(row.rule[kRbx] == RegisterRule::kUnspecified);
    CHECK_FALSE(row.signal_frame);
}

TEST_CASE("a row ends with its function") {
    EhFrameBuilder builder;
    CHECK(has_row(builder, EhFrameBuilder::kFunctionSize - 1));
    CHECK_FALSE(has_row(builder, EhFrameBuilder::kFunctionSize));
    CHECK_FALSE(has_row(builder, static_cast<uint64_t>(-1)));
}

TEST_CASE("CIEs of every version and augmentation that .eh_frame ever had are read") {
    for (const uint8_t version : {1, 3, 4}) {
        for (const char* augmentation : {"zR", "", "eh"}) {
            EhFrameBuilder builder;
            builder.version = version;
            builder.augmentation = augmentation;
            INFO(int{version} << " " << augmentation);
            CHECK(row_at(builder, 0).cfa_value == 8);
        }
    }
}

TEST_CASE("augmentation S marks a signal frame") {
    EhFrameBuilder builder;
    builder.augmentation = "zRS";
    CHECK(row_at(builder, 0).signal_frame);
}

TEST_CASE("an unknown version or augmentation is no information") {
    EhFrameBuilder version;
    version.version = 2;
    CHECK_FALSE(has_row(version, 0));
    EhFrameBuilder augmentation;
    augmentation.augmentation = "zX";
    CHECK_FALSE(has_row(augmentation, 0));
}

TEST_CASE("each way to advance begins its row at that pc, not before") {
    const Bytes push{0x0e, 16};  // DW_CFA_def_cfa_offset 16
    const std::pair<Bytes, uint64_t> advances[] = {{{0x40 | 9}, 9},
                                                   {{0x02, 9}, 9},
                                                   {{0x03, 9, 0}, 9},
                                                   {{0x04, 9, 0, 0, 0}, 9},
                                                   {{0x1d, 9, 0, 0, 0, 0, 0, 0, 0}, 9}};
    for (const auto& [advance, distance] : advances) {
        EhFrameBuilder builder;
        builder.instructions = advance + push;
        INFO(int{advance[0]});
        CHECK(row_at(builder, distance - 1).cfa_value == 8);
        CHECK(row_at(builder, distance).cfa_value == 16);
    }
}

TEST_CASE("DW_CFA_set_loc moves to an absolute pc") {
    EhFrameBuilder builder;
    builder.instructions = {0x01, 0x09, 0x10, 0x00, 0x00, 0x00, 0x50, 0x00, 0x00, 0x0e, 16};  // kFunction + 9
    CHECK(row_at(builder, 8).cfa_value == 8);
    CHECK(row_at(builder, 9).cfa_value == 16);
}

TEST_CASE("remembered rows nest, and bring the CFA back too") {
    EhFrameBuilder builder;
    // push rbp's row; remember; CFA = rbp + 32; remember; rbx lost; restore both, one pc apart
    builder.instructions = {0x0e, 16, 0x86, 2, 0x0a, 0x0c, 6, 32, 0x0a, 0x07, 3, 0x41, 0x0b, 0x41, 0x0b};
    const CfiRow inner = row_at(builder, 0), middle = row_at(builder, 1), outer = row_at(builder, 2);
    CHECK(inner.rule[kRbx] == RegisterRule::kUndefined);
    CHECK(middle.rule[kRbx] == RegisterRule::kUnspecified);
    CHECK(middle.cfa_register == kRbpRegister);
    CHECK(outer.cfa_register == kRspRegister);
    CHECK(outer.cfa_value == 16);
    CHECK(outer.value[kRbpRegister] == -16);
}

TEST_CASE("restoring what was never remembered, or remembering without end, is no information") {
    EhFrameBuilder restore;
    restore.instructions = {0x0b};
    CHECK_FALSE(has_row(restore, 0));
    EhFrameBuilder remember;
    remember.instructions = Bytes(100, 0x0a);
    CHECK_FALSE(has_row(remember, 0));
}

TEST_CASE("DW_CFA_restore goes back to the CIE's rule") {
    EhFrameBuilder builder;
    builder.initial = builder.initial + Bytes{0x83, 5};                          // rbx at CFA - 40
    builder.instructions = {0x83, 2, 0x41, 0xc3, 0x41, 0x83, 3, 0x41, 0x06, 3};  // DW_CFA_restore, _extended
    CHECK(row_at(builder, 0).value[kRbx] == -16);
    CHECK(row_at(builder, 1).value[kRbx] == -40);
    CHECK(row_at(builder, 2).value[kRbx] == -24);
    CHECK(row_at(builder, 3).value[kRbx] == -40);
}

TEST_CASE("every form of a register's rule") {
    EhFrameBuilder builder;
    builder.instructions = Bytes{0x05,      3,  2,               // DW_CFA_offset_extended rbx, 2
                                 0x08,      6,                   // DW_CFA_same_value rbp
                                 0x09,      12, 1,               // DW_CFA_register r12 in rdx
                                 0x11,      13, 0x7e,            // DW_CFA_offset_extended_sf r13, -2
                                 0x14,      14, 4,               // DW_CFA_val_offset r14, 4
                                 0x15,      15, 0x7c,            // DW_CFA_val_offset_sf r15, -4
                                 0x2f,      0,  2,               // DW_CFA_GNU_negative_offset_extended rax, 2
                                 0x10,      1,  2,    0x76, 8,   // DW_CFA_expression rdx, rbp + 8
                                 0x16,      2,  2,    0x77, 16,  // DW_CFA_val_expression rcx, rsp + 16
                                 0x2e,      32,                  // DW_CFA_GNU_args_size
                                 0x80 | 33, 4};                  // a register that no walk needs
    const CfiRow row = row_at(builder, 0);
    const CodeObject object = builder.build();
    CHECK(row.rule[kRbx] == RegisterRule::kOffset);
    CHECK(row.value[kRbx] == -16);
    CHECK(row.rule[kRbpRegister] == RegisterRule::kSame);
    CHECK(row.rule[12] == RegisterRule::kRegister);
    CHECK(row.value[12] == kRdx);
    CHECK(row.rule[13] == RegisterRule::kOffset);
    CHECK(row.value[13] == 16);
    CHECK(row.rule[14] == RegisterRule::kValOffset);
    CHECK(row.value[14] == -32);
    CHECK(row.rule[15] == RegisterRule::kValOffset);
    CHECK(row.value[15] == 32);
    CHECK(row.rule[kRax] == RegisterRule::kOffset);
    CHECK(row.value[kRax] == 16);
    CHECK(row.rule[kRdx] == RegisterRule::kExpression);
    const Expression expression = row_expression(object, row.value[kRdx]);
    CHECK(Bytes(expression.begin, expression.end) == Bytes{0x76, 8});
    CHECK(row.rule[kRcx] == RegisterRule::kValExpression);
}

TEST_CASE("every form of a CFA") {
    EhFrameBuilder builder;
    builder.instructions = {0x12, 6,    0x7e,            // DW_CFA_def_cfa_sf rbp, -2 * -8
                            0x41, 0x0d, 7,               // DW_CFA_def_cfa_register rsp
                            0x41, 0x13, 0x7c,            // DW_CFA_def_cfa_offset_sf -4 * -8
                            0x41, 0x0f, 2,    0x76, 8};  // DW_CFA_def_cfa_expression
    CHECK(row_at(builder, 0).cfa_register == kRbpRegister);
    CHECK(row_at(builder, 0).cfa_value == 16);
    CHECK(row_at(builder, 1).cfa_register == kRspRegister);
    CHECK(row_at(builder, 1).cfa_value == 16);
    CHECK(row_at(builder, 2).cfa_value == 32);
    CHECK(row_at(builder, 3).cfa_is_expression);
}

TEST_CASE("half a CFA on top of an expression, and an offset beyond 31 bits, are no information") {
    EhFrameBuilder half;
    half.instructions = {0x0f, 2, 0x76, 8, 0x0e, 16};
    CHECK_FALSE(has_row(half, 0));
    EhFrameBuilder huge;
    huge.instructions = Bytes{0x0e} + uleb(uint64_t{1} << 31);
    CHECK_FALSE(has_row(huge, 0));
}

TEST_CASE("an unknown instruction is no information from its pc on") {
    EhFrameBuilder builder;
    builder.instructions = {0x44, 0x3b};
    CHECK(has_row(builder, 3));
    CHECK_FALSE(has_row(builder, 4));
}

TEST_CASE("an instruction or a section that is cut short is no information") {
    EhFrameBuilder builder;
    builder.instructions = {0x0e, 16, 0x0f, 100};  // an expression longer than its entry
    CHECK_FALSE(has_row(builder, 0));
    builder.instructions = {0x0e, 16};
    const CodeObject whole = builder.build();
    CfiRow row;
    REQUIRE(find_cfi_row(whole, kFunction, &row));
    const uint64_t terminator = 4;
    for (uint64_t end = whole.map_start + 1; end < whole.map_end - terminator; ++end) {
        const CodeObject cut{whole.eh_frame_hdr, whole.map_start, end};
        CHECK_FALSE(find_cfi_row(cut, kFunction, &row));
    }
}

}
