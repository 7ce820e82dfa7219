// What full_step() reads, reports and refuses, by hand-made tables.
#include "preload/full_walk.h"

#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "tests/unit/preload/eh_frame_builder.h"

namespace unfreed::preload {
namespace {

using Slots = std::vector<std::pair<uint64_t, uint64_t>>;

constexpr uint32_t bit(unsigned number) {
    return 1u << number;
}

// A small stack; its words' addresses are what tests speak of.
struct Stack {
    uint64_t words[32] = {};
    Slots slots;

    uint64_t at(int index) const {
        return reinterpret_cast<uint64_t>(words) + static_cast<uint64_t>(index) * 8;
    }

    StackMemory memory() {
        return {at(0), at(32), nullptr,
                [](void* context, uint64_t address, uint64_t value) {
                    static_cast<Stack*>(context)->slots.emplace_back(address, value);
                },
                this};
    }

    Registers frame(int sp_index) const {
        Registers registers{};
        registers.r[kReturnAddress] = EhFrameBuilder::kFunction + 1;
        registers.r[kRspRegister] = at(sp_index);
        registers.known = bit(kReturnAddress) | bit(kRspRegister) | bit(kRbx) | bit(kRbpRegister);
        registers.live = registers.known;
        return registers;
    }
};

Step step_with(const Bytes& instructions, Registers& frame, const StackMemory& memory,
               const char* augmentation = "zR") {
    EhFrameBuilder builder;
    builder.augmentation = augmentation;
    builder.instructions = instructions;
    const CodeObject object = builder.build();
    return full_step(frame, &object, memory);
}

}

TEST_CASE("a step reads the return address, and saved registers only when a frame needs them") {
    Stack stack;
    stack.words[2] = stack.at(20);                    // rbx, saved at CFA - 16
    stack.words[3] = EhFrameBuilder::kFunction + 1;   // the return address, at CFA - 8
    stack.words[23] = EhFrameBuilder::kFunction + 5;  // the next one
    Registers frame = stack.frame(0);
    REQUIRE(step_with({0x0e, 32, 0x83, 2}, frame, stack.memory()) == Step::kStepped);
    CHECK(stack.slots == Slots{{stack.at(3), stack.words[3]}});
    CHECK(frame.location[kRbx] == stack.at(2));
    CHECK(frame.r[kRspRegister] == stack.at(4));
    CHECK(frame.r[kReturnAddress] == stack.words[3]);
    CHECK_FALSE(frame.exact);

    stack.slots.clear();
    REQUIRE(step_with({0x0c, 3, 32}, frame, stack.memory()) == Step::kStepped);  // CFA = rbx + 32
    CHECK(stack.slots == Slots{{stack.at(2), stack.words[2]}, {stack.at(23), stack.words[23]}});
    CHECK(frame.r[kRspRegister] == stack.at(24));
    CHECK(frame.live_used == 0);
}

TEST_CASE("a register that still has its starting value is named when it is used") {
    Stack stack;
    stack.words[3] = 0x1234;
    Registers frame = stack.frame(0);
    frame.r[kRbx] = stack.at(0);
    REQUIRE(step_with({0x0c, 3, 32}, frame, stack.memory()) == Step::kStepped);
    CHECK(frame.live_used == bit(kRbx));
    CHECK(frame.live == (bit(kRbx) | bit(kRbpRegister)));
}

TEST_CASE("a register that a call does not keep is not known to the caller, and missed only when needed") {
    Stack stack;
    stack.words[0] = stack.words[1] = EhFrameBuilder::kFunction + 1;
    Registers frame = stack.frame(0);
    frame.known |= bit(10);
    frame.r[10] = stack.at(0);
    Registers interrupted = frame;
    REQUIRE(step_with({0x0c, 10, 16}, interrupted, stack.memory()) == Step::kStepped);
    REQUIRE(step_with({}, frame, stack.memory()) == Step::kStepped);
    const Registers before = frame;
    CHECK(step_with({0x0c, 10, 16}, frame, stack.memory()) == Step::kUnknownRegister);
    CHECK(frame.r[kRspRegister] == before.r[kRspRegister]);
    CHECK(frame.r[kReturnAddress] == before.r[kReturnAddress]);
}

TEST_CASE("a signal frame's caller is exact, and has every register") {
    Stack stack;
    stack.words[4] = stack.at(20);  // sp
    stack.words[5] = 0x7777;        // pc
    stack.words[6] = 0x1010;        // r10
    Registers frame = stack.frame(0);
    // CFA = *(sp + 32); pc at sp + 40, r10 at sp + 48: as glibc describes a ucontext
    const Bytes restorer{0x0f, 3,  0x77, 32,   0x06, 0x10, 7,  2, 0x77, 32,
                         0x10, 16, 2,    0x77, 40,   0x10, 10, 2, 0x77, 48};
    REQUIRE(step_with(restorer, frame, stack.memory(), "zRS") == Step::kStepped);
    CHECK(frame.exact);
    CHECK(frame.r[kReturnAddress] == 0x7777);
    CHECK(frame.r[kRspRegister] == stack.at(20));
    CHECK((frame.known & bit(10)) != 0);
    CHECK(frame.location[10] == stack.at(6));
}

TEST_CASE("an exact pc is looked up itself, a return address by the call before it") {
    Stack stack;
    stack.words[0] = 0x1111;
    stack.words[1] = 0x2222;
    const Bytes one_byte_later{0x41, 0x0e, 16};
    Registers called = stack.frame(0);
    REQUIRE(step_with(one_byte_later, called, stack.memory()) == Step::kStepped);
    CHECK(called.r[kReturnAddress] == 0x1111);
    Registers interrupted = stack.frame(0);
    interrupted.exact = true;
    REQUIRE(step_with(one_byte_later, interrupted, stack.memory()) == Step::kStepped);
    CHECK(interrupted.r[kReturnAddress] == 0x2222);
}

TEST_CASE("an undefined or a zero return address ends the stack") {
    Stack stack;
    Registers frame = stack.frame(0);
    CHECK(step_with({0x07, 16}, frame, stack.memory()) == Step::kOutermost);
    CHECK(stack.slots.empty());
    CHECK(step_with({}, frame, stack.memory()) == Step::kOutermost);
    CHECK(stack.slots == Slots{{stack.at(0), 0}});
}

TEST_CASE("a return address where a function begins was not left by a call: the stack ends") {
    Stack stack;
    Registers frame = stack.frame(0);
    frame.r[kReturnAddress] = EhFrameBuilder::kFunction;
    CHECK(step_with({}, frame, stack.memory()) == Step::kOutermost);
    CHECK(stack.slots.empty());
    Registers elsewhere = frame;
    elsewhere.r[kReturnAddress] = EhFrameBuilder::kFunction - 1;
    CHECK(step_with({}, elsewhere, stack.memory()) == Step::kNoCfi);
}

TEST_CASE("memory that is not the stack is not read") {
    Stack stack;
    Registers outside = stack.frame(32);
    CHECK(step_with({}, outside, stack.memory()) == Step::kBadMemory);
    Registers partly = stack.frame(31);
    partly.r[kRspRegister] += 4;
    CHECK(step_with({}, partly, stack.memory()) == Step::kBadMemory);
    CHECK(stack.slots.empty());
}

TEST_CASE("memory outside the bounds is read where the caller says it may be") {
    Stack stack;
    stack.words[0] = 0x1111;
    Registers frame = stack.frame(0);
    StackMemory memory = stack.memory();
    memory.low = memory.high = 0;
    CHECK(step_with({}, frame, memory) == Step::kBadMemory);
    memory.readable = [](void* context, uint64_t address) {
        return address == static_cast<Stack*>(context)->at(0);
    };
    CHECK(step_with({}, frame, memory) == Step::kStepped);
}

TEST_CASE("a step that does not move is refused") {
    Stack stack;
    stack.words[0] = EhFrameBuilder::kFunction + 1;
    Registers frame = stack.frame(1);
    CHECK(step_with({0x0e, 0}, frame, stack.memory()) == Step::kBadMemory);
}

TEST_CASE("expressions compute as DWARF says") {
    const std::pair<Bytes, uint64_t> expressions[] = {
        {{0x08, 0xff}, 0xff},                                   // const1u
        {{0x09, 0xff}, ~uint64_t{0}},                           // const1s
        {{0x0a, 0xfe, 0xff}, 0xfffe},                           // const2u
        {{0x0b, 0xfe, 0xff}, ~uint64_t{1}},                     // const2s
        {{0x0c, 1, 0, 0, 0x80}, 0x80000001},                    // const4u
        {{0x0d, 1, 0, 0, 0x80}, 0xffffffff80000001},            // const4s
        {{0x0e, 1, 2, 3, 4, 5, 6, 7, 8}, 0x0807060504030201},   // const8u
        {{0x10, 0x80, 1}, 128},                                 // constu
        {{0x11, 0x7f}, ~uint64_t{0}},                           // consts
        {{0x35, 0x12, 0x22}, 10},                               // lit5 dup plus
        {{0x35, 0x33, 0x14, 0x1c, 0x1c}, 7},                    // 5 - (3 - 5): over, minus, minus
        {{0x35, 0x33, 0x16, 0x1c}, static_cast<uint64_t>(-2)},  // swap, minus
        {{0x35, 0x33, 0x13}, 5},                                // drop
        {{0x35, 0x33, 0x31, 0x15, 2, 0x1e, 0x22, 0x22}, 13},    // pick 2: 5 + (3 + 1 * 5)
        {{0x31, 0x32, 0x34, 0x17, 0x13, 0x13}, 4},              // rot: 1 2 4 -> 4 1 2
        {{0x09, 0xfb, 0x19}, 5},                                // abs
        {{0x35, 0x1f, 0x1f, 0x20, 0x20}, 5},                    // neg neg not not
        {{0x36, 0x33, 0x1a}, 2},                                // and
        {{0x36, 0x33, 0x21}, 7},                                // or
        {{0x36, 0x33, 0x27}, 5},                                // xor
        {{0x09, 0xf9, 0x32, 0x1b}, static_cast<uint64_t>(-3)},  // -7 / 2
        {{0x37, 0x33, 0x1d}, 1},                                // 7 % 3
        {{0x33, 0x34, 0x24}, 48},                               // 3 << 4
        {{0x09, 0x80, 0x08, 60, 0x25}, 15},                     // shr
        {{0x09, 0x80, 0x34, 0x26}, static_cast<uint64_t>(-8)},  // shra
        {{0x31, 0x08, 64, 0x24}, 0},                            // shifted out
        {{0x35, 0x23, 0x80, 1}, 133},                           // plus_uconst
        {{0x09, 0xff, 0x31, 0x2d}, 1},                          // -1 < 1
        {{0x32, 0x31, 0x2b}, 1},                                // gt
        {{0x32, 0x32, 0x2c}, 1},                                // le
        {{0x31, 0x32, 0x2a}, 0},                                // ge
        {{0x31, 0x32, 0x29}, 0},                                // eq
        {{0x31, 0x32, 0x2e}, 1},                                // ne
        {{0x35, 0x31, 0x28, 1, 0, 0x20, 0x96}, 5},              // bra over "not"
        {{0x35, 0x30, 0x28, 1, 0, 0x20, 0x96}, ~uint64_t{5}},   // bra not taken
        {{0x35, 0x2f, 1, 0, 0x20}, 5},                          // skip
    };
    for (const auto& [expression, value] : expressions) {
        Stack stack;
        stack.words[0] = 0x1111;
        Registers frame = stack.frame(0);
        // DW_CFA_val_expression rbx
        const Bytes instructions = Bytes{0x16, 3} + uleb(expression.size()) + expression;
        INFO("operation " << int{expression[0]} << " of " << expression.size() << ", value " << value);
        REQUIRE(step_with(instructions, frame, stack.memory()) == Step::kStepped);
        REQUIRE((frame.known & bit(kRbx)) != 0);
        CHECK(frame.r[kRbx] == value);
    }
}

TEST_CASE("parts of a slot are read with the whole slot reported") {
    Stack stack;
    stack.words[0] = 0x1111;
    stack.words[4] = 0x8877665544332211;
    Registers frame = stack.frame(0);
    REQUIRE(step_with({0x16, 3, 4, 0x77, 34, 0x94, 2}, frame, stack.memory()) ==
            Step::kStepped);  // 2 at sp + 34
    CHECK(frame.r[kRbx] == 0x4433);
    CHECK(stack.slots.front() == std::make_pair(stack.at(4), stack.words[4]));
}

TEST_CASE("a broken CFA expression is no information") {
    const Bytes expressions[] = {
        {},                  // no value
        {0x06},              // an operand is missing
        {0x31, 0x22},        // another one
        {0x31, 0x30, 0x1b},  // division by 0
        {0x2f, 0xfd, 0xff},  // an endless loop
        {0x2f, 0x10, 0x00},  // a jump out of it
        {0x31, 0x15, 9},     // a pick below the stack
        {0xe0},              // an unknown operation
        {0x0e, 1, 2},        // cut short
        Bytes(40, 0x31),     // too deep
    };
    for (const Bytes& expression : expressions) {
        Stack stack;
        Registers frame = stack.frame(0);
        INFO("size " << expression.size());
        CHECK(step_with(Bytes{0x0f} + uleb(expression.size()) + expression, frame, stack.memory()) ==
              Step::kNoCfi);
    }
}

TEST_CASE("a frame pointer is followed only up the stack, aligned, to a return address") {
    Stack stack;
    stack.words[10] = stack.at(20);
    stack.words[11] = 0x1111;
    Registers frame = stack.frame(5);
    frame.r[kRbpRegister] = stack.at(10);
    Registers moved = frame;
    REQUIRE(frame_pointer_step(moved, stack.memory()));
    CHECK(moved.r[kReturnAddress] == 0x1111);
    CHECK(moved.r[kRspRegister] == stack.at(12));
    CHECK(moved.location[kRbpRegister] == stack.at(10));
    CHECK(moved.known == (bit(kReturnAddress) | bit(kRspRegister) | bit(kRbpRegister)));
    CHECK(moved.live_used == bit(kRbpRegister));
    CHECK(stack.slots == Slots{{stack.at(11), 0x1111}});
    for (const uint64_t rbp : {stack.at(4), stack.at(10) + 4, stack.at(31), stack.at(12), uint64_t{0}}) {
        Registers refused = frame;
        refused.r[kRbpRegister] = rbp;
        INFO(rbp - stack.at(0));
        CHECK_FALSE(frame_pointer_step(refused, stack.memory()));
    }
}

}
