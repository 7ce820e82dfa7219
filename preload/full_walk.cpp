#include "preload/full_walk.h"

#include "preload/dwarf_reader.h"

namespace unfreed::preload {
namespace {

constexpr uint32_t bit(unsigned number) {
    return uint32_t{1} << number;
}

// rbx, rbp, r12 to r15: what a call leaves as it was.
constexpr uint32_t kCalleeSaved =
    bit(kRbx) | bit(kRbpRegister) | bit(kR12) | bit(kR12 + 1) | bit(kR12 + 2) | bit(kR15);

// Expressions of real frames have about ten operations; a loop in a broken one must end.
constexpr int kMaximumOperations = 256;
constexpr int kExpressionDepth = 16;

// The stack of a running thread, as raw memory: sanitizers know nothing of who may read what there.
__attribute__((no_sanitize("address", "thread"))) uint64_t load(uint64_t address) {
    uint64_t value;
    __builtin_memcpy(&value, reinterpret_cast<const void*>(address), sizeof(value));
    return value;
}

// Everything that a step reads, of registers and of memory, goes through here, so that nothing it depends on
// can be forgotten. `failure` says why the last read returned false.
class Inputs {
  public:
    Inputs(Registers& registers, const StackMemory& memory) : registers_(registers), memory_(memory) {}

    bool slot(uint64_t address, uint64_t* value) {
        const bool inside =
            address >= memory_.low && address < memory_.high && memory_.high - address >= sizeof(uint64_t);
        if (!inside && !(memory_.readable && memory_.readable(memory_.context, address))) {
            failure = Step::kBadMemory;
            return false;
        }
        *value = load(address);
        if (memory_.slot_read) memory_.slot_read(memory_.context, address, *value);
        return true;
    }

    // `size` bytes, from the slot that holds them.
    bool part_of_slot(uint64_t address, uint8_t size, uint64_t* value) {
        const uint64_t offset = address & 7;
        if (size == 8) return slot(address, value);
        if ((size != 1 && size != 2 && size != 4) || offset + size > 8) {
            failure = Step::kBadMemory;
            return false;
        }
        if (!slot(address - offset, value)) return false;
        *value = (*value >> (8 * offset)) & ((uint64_t{1} << (8 * size)) - 1);
        return true;
    }

    bool reg(uint64_t number, uint64_t* value) {
        if (number >= kDwarfRegisters || !(registers_.known & bit(number))) {
            failure = Step::kUnknownRegister;
            return false;
        }
        const bool is_pc_or_sp = number == kReturnAddress || number == kRspRegister;
        if (!is_pc_or_sp && registers_.location[number]) return slot(registers_.location[number], value);
        if (!is_pc_or_sp) registers_.live_used |= registers_.live & bit(number);
        *value = registers_.r[number];
        return true;
    }

    Step failure = Step::kStepped;

  private:
    Registers& registers_;
    const StackMemory& memory_;
};

// DWARF 5, section 2.5, as far as call frame information may use it (6.4.2).
class ExpressionMachine {
  public:
    explicit ExpressionMachine(Inputs& inputs) : inputs_(inputs) {}

    // The value on top when the expression has run; `cfa`, where not null, is there from the start.
    bool run(Expression expression, const uint64_t* cfa, uint64_t* result) {
        if (cfa) stack_[depth_++] = *cfa;
        in_ = {expression.begin, expression.end, expression.begin != nullptr};
        for (int count = 0; !in_.at_end(); ++count) {
            if (count == kMaximumOperations || !operation(expression.begin)) return fail();
        }
        if (!in_.ok || depth_ == 0) return fail();
        *result = stack_[depth_ - 1];
        return true;
    }

  private:
    bool fail() {
        if (inputs_.failure == Step::kStepped) inputs_.failure = Step::kNoCfi;
        return false;
    }

    bool push(uint64_t value) {
        if (depth_ == kExpressionDepth) return false;
        stack_[depth_++] = value;
        return true;
    }

    bool push_register(uint64_t number, int64_t offset) {
        uint64_t value;
        return in_.ok && inputs_.reg(number, &value) && push(value + static_cast<uint64_t>(offset));
    }

    bool pick(uint64_t index) {
        return index < static_cast<uint64_t>(depth_) && push(stack_[depth_ - 1 - index]);
    }

    bool jump(const uint8_t* begin, int16_t distance) {
        const int64_t target = (in_.p - begin) + distance;
        if (!in_.ok || target < 0 || target > in_.end - begin) return false;
        in_.p = begin + target;
        return true;
    }

    bool operation(const uint8_t* begin) {
        const uint8_t op = in_.fixed<uint8_t>();
        switch (op) {
            case 0x30 ... 0x4f:  // DW_OP_lit0..31
                return push(op - 0x30);
            case 0x70 ... 0x8f:  // DW_OP_breg0..31
                return push_register(op - 0x70, in_.sleb());
            case 0x92: {  // DW_OP_bregx
                const uint64_t number = in_.uleb();
                return push_register(number, in_.sleb());
            }
            case 0x08:  // DW_OP_const1u
                return push(in_.fixed<uint8_t>());
            case 0x09:  // DW_OP_const1s
                return push(static_cast<uint64_t>(int64_t{in_.fixed<int8_t>()}));
            case 0x0a:  // DW_OP_const2u
                return push(in_.fixed<uint16_t>());
            case 0x0b:  // DW_OP_const2s
                return push(static_cast<uint64_t>(int64_t{in_.fixed<int16_t>()}));
            case 0x0c:  // DW_OP_const4u
                return push(in_.fixed<uint32_t>());
            case 0x0d:  // DW_OP_const4s
                return push(static_cast<uint64_t>(int64_t{in_.fixed<int32_t>()}));
            case 0x0e:  // DW_OP_const8u
            case 0x0f:  // DW_OP_const8s
                return push(in_.fixed<uint64_t>());
            case 0x10:  // DW_OP_constu
                return push(in_.uleb());
            case 0x11:  // DW_OP_consts
                return push(static_cast<uint64_t>(in_.sleb()));
            case 0x12:  // DW_OP_dup
                return pick(0);
            case 0x14:  // DW_OP_over
                return pick(1);
            case 0x15:  // DW_OP_pick
                return pick(in_.fixed<uint8_t>());
            case 0x2f:  // DW_OP_skip
                return jump(begin, in_.fixed<int16_t>());
            case 0x96:  // DW_OP_nop
                return true;
            default:
                return depth_ >= 1 && on_top(op, begin);
        }
    }

    // Operations on the topmost value.
    bool on_top(uint8_t op, const uint8_t* begin) {
        uint64_t& top = stack_[depth_ - 1];
        switch (op) {
            case 0x06:  // DW_OP_deref
                return inputs_.slot(top, &top);
            case 0x94:  // DW_OP_deref_size
                return inputs_.part_of_slot(top, in_.fixed<uint8_t>(), &top);
            case 0x13:  // DW_OP_drop
                --depth_;
                return true;
            case 0x19:  // DW_OP_abs
                if (static_cast<int64_t>(top) < 0) top = -top;
                return true;
            case 0x1f:  // DW_OP_neg
                top = -top;
                return true;
            case 0x20:  // DW_OP_not
                top = ~top;
                return true;
            case 0x23:  // DW_OP_plus_uconst
                top += in_.uleb();
                return true;
            case 0x28: {  // DW_OP_bra
                const int16_t distance = in_.fixed<int16_t>();
                --depth_;
                return top == 0 || jump(begin, distance);
            }
            default:
                return depth_ >= 2 && on_two(op);
        }
    }

    // Operations on the two topmost values.
    bool on_two(uint8_t op) {
        const uint64_t right = stack_[depth_ - 1];
        uint64_t& left = stack_[depth_ - 2];
        const auto signed_left = static_cast<int64_t>(left);
        const auto signed_right = static_cast<int64_t>(right);
        if (op == 0x16) {  // DW_OP_swap
            stack_[depth_ - 1] = left;
            left = right;
            return true;
        }
        if (op == 0x17) {  // DW_OP_rot
            if (depth_ < 3) return false;
            stack_[depth_ - 1] = left;
            left = stack_[depth_ - 3];
            stack_[depth_ - 3] = right;
            return true;
        }
        --depth_;
        switch (op) {
            case 0x1a:  // DW_OP_and
                left &= right;
                return true;
            case 0x1b:  // DW_OP_div, signed; the one quotient that overflows would trap
                if (right == 0 || (signed_right == -1 && left == uint64_t{1} << 63)) return false;
                left = static_cast<uint64_t>(signed_left / signed_right);
                return true;
            case 0x1c:  // DW_OP_minus
                left -= right;
                return true;
            case 0x1d:  // DW_OP_mod
                if (right == 0) return false;
                left %= right;
                return true;
            case 0x1e:  // DW_OP_mul
                left *= right;
                return true;
            case 0x21:  // DW_OP_or
                left |= right;
                return true;
            case 0x22:  // DW_OP_plus
                left += right;
                return true;
            case 0x24:  // DW_OP_shl
                left = right < 64 ? left << right : 0;
                return true;
            case 0x25:  // DW_OP_shr
                left = right < 64 ? left >> right : 0;
                return true;
            case 0x26:  // DW_OP_shra
                left = static_cast<uint64_t>(signed_left >> (right < 64 ? right : 63));
                return true;
            case 0x27:  // DW_OP_xor
                left ^= right;
                return true;
            case 0x29:  // DW_OP_eq; comparisons are signed
                left = left == right;
                return true;
            case 0x2a:  // DW_OP_ge
                left = signed_left >= signed_right;
                return true;
            case 0x2b:  // DW_OP_gt
                left = signed_left > signed_right;
                return true;
            case 0x2c:  // DW_OP_le
                left = signed_left <= signed_right;
                return true;
            case 0x2d:  // DW_OP_lt
                left = signed_left < signed_right;
                return true;
            case 0x2e:  // DW_OP_ne
                left = left != right;
                return true;
            default:
                return false;
        }
    }

    Inputs& inputs_;
    DwarfReader in_{};
    uint64_t stack_[kExpressionDepth];
    int depth_ = 0;
};

// Finds the caller's registers, one after the other.
class Caller {
  public:
    Caller(const CodeObject& object, const CfiRow& row, Registers& frame, const StackMemory& memory)
        : object_(object), row_(row), frame_(frame), inputs_(frame, memory) {}

    Step step() {
        if (!find_cfa()) return inputs_.failure;
        for (unsigned number = 0; number < kDwarfRegisters; ++number) {
            if (find(number)) next_.known |= bit(number);
        }
        if (!settle(kRspRegister) || !settle(kReturnAddress)) return inputs_.failure;
        if (next_.r[kReturnAddress] == 0) return Step::kOutermost;
        const bool stuck = next_.r[kRspRegister] == frame_.r[kRspRegister] &&
                           next_.r[kReturnAddress] == frame_.r[kReturnAddress];
        if (stuck) return Step::kBadMemory;
        next_.live_used = frame_.live_used;
        next_.exact = row_.signal_frame;
        frame_ = next_;
        return Step::kStepped;
    }

  private:
    bool expression(int32_t value, const uint64_t* cfa, uint64_t* result) {
        return ExpressionMachine{inputs_}.run(row_expression(object_, value), cfa, result);
    }

    bool find_cfa() {
        if (row_.cfa_is_expression) return expression(row_.cfa_value, nullptr, &cfa_);
        if (!inputs_.reg(row_.cfa_register, &cfa_)) return false;
        cfa_ += static_cast<uint64_t>(int64_t{row_.cfa_value});
        return true;
    }

    void copy(unsigned to, unsigned from) {
        next_.r[to] = frame_.r[from];
        next_.location[to] = frame_.location[from];
        // A live register that moved is not the live register of its new number: it counts as used at once.
        if (to == from) {
            next_.live |= frame_.live & bit(from);
        } else if (!frame_.location[from]) {
            frame_.live_used |= frame_.live & bit(from);
        }
    }

    // False: the register is not known in the caller. That is a failure only once somebody needs it.
    bool find(unsigned number) {
        const int32_t value = row_.value[number];
        const uint64_t at_cfa = cfa_ + static_cast<uint64_t>(int64_t{value});
        switch (row_.rule[number]) {
            case RegisterRule::kUnspecified:
                if (number == kRspRegister) {
                    next_.r[number] = cfa_;
                    return true;
                }
                if (!(kCalleeSaved & bit(number))) return false;
                [[fallthrough]];
            case RegisterRule::kSame:
                copy(number, number);
                return frame_.known & bit(number);
            case RegisterRule::kUndefined:
                return false;
            case RegisterRule::kOffset:
                next_.location[number] = at_cfa;
                return true;
            case RegisterRule::kValOffset:
                next_.r[number] = at_cfa;
                return true;
            case RegisterRule::kRegister:
                if (value >= kDwarfRegisters || !(frame_.known & bit(static_cast<unsigned>(value))))
                    return false;
                copy(number, static_cast<unsigned>(value));
                return true;
            case RegisterRule::kExpression:
                return expression(value, &cfa_, &next_.location[number]);
            case RegisterRule::kValExpression:
                return expression(value, &cfa_, &next_.r[number]);
        }
        return false;
    }

    // Reads pc or sp now, where it was found in memory.
    bool settle(unsigned number) {
        if (!(next_.known & bit(number))) {
            if (inputs_.failure == Step::kStepped) inputs_.failure = Step::kUnknownRegister;
            return false;
        }
        return !next_.location[number] || inputs_.slot(next_.location[number], &next_.r[number]);
    }

    const CodeObject& object_;
    const CfiRow& row_;
    Registers& frame_;
    Inputs inputs_;
    uint64_t cfa_ = 0;
    Registers next_{};
};

}

Step full_step(Registers& registers, const CodeObject* object, const StackMemory& memory) {
    const uint64_t pc = registers.r[kReturnAddress];
    CfiRow row;
    if (!object) return Step::kNoCfi;
    if (!find_cfi_row(*object, registers.exact ? pc : pc - 1, &row)) {
        const bool ends = !registers.exact && is_made_up_return_address(*object, pc);
        return ends ? Step::kOutermost : Step::kNoCfi;
    }
    switch (row.rule[kReturnAddress]) {
        case RegisterRule::kUndefined:
            return Step::kOutermost;
        case RegisterRule::kUnspecified:
        case RegisterRule::kSame:
            return Step::kNoCfi;  // "the caller is where we are"
        default:
            return Caller{*object, row, registers, memory}.step();
    }
}

bool frame_pointer_step(Registers& registers, const StackMemory& memory) {
    Inputs inputs{registers, memory};
    const uint64_t sp = registers.r[kRspRegister];
    uint64_t rbp = 0, return_address = 0;
    if (!inputs.reg(kRbpRegister, &rbp) || (rbp & 7) || rbp < sp) return false;
    if (!inputs.slot(rbp + 8, &return_address) || return_address == 0) return false;
    Registers next{};
    next.r[kReturnAddress] = return_address;
    next.r[kRspRegister] = rbp + 16;
    next.location[kReturnAddress] = rbp + 8;
    next.location[kRbpRegister] = rbp;
    next.known = bit(kReturnAddress) | bit(kRspRegister) | bit(kRbpRegister);
    next.live_used = registers.live_used;
    registers = next;
    return true;
}

}
