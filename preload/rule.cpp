#include "preload/rule.h"

#include <limits>

#include "preload/dwarf_reader.h"

namespace unfreed::preload {
namespace {

// What the expressions of ordinary code come to: a constant, a register plus a constant, or what is saved
// there.
struct Term {
    enum Kind : uint8_t { kConstant, kRegister, kSavedAtRegister } kind;
    uint8_t reg;
    int64_t offset;
};

// Evaluates an expression at a known pc, symbolically for every other register. It knows what linkers and
// compilers write: the PLT's "sp + 8 + ((rip & 15) >= 11) * 8", which is sp plus a constant at any one pc,
// and "rbp + n" with and without a dereference (gcc's realigned stacks). False for anything else: the frame
// is one for full_step().
bool evaluate(Expression expression, uint64_t pc, Term* result) {
    constexpr int kDepth = 4;
    Term stack[kDepth];
    int depth = 0;
    DwarfReader in{expression.begin, expression.end, expression.begin != nullptr};
    while (!in.at_end()) {
        const uint8_t op = in.fixed<uint8_t>();
        Term* top = stack + depth - 1;
        switch (op) {
            case 0x30 ... 0x4f:  // DW_OP_lit0..31
                if (depth == kDepth) return false;
                stack[depth++] = {Term::kConstant, 0, op - 0x30};
                break;
            case 0x70 ... 0x80:  // DW_OP_breg0..16
                if (depth == kDepth) return false;
                stack[depth] = {Term::kRegister, static_cast<uint8_t>(op - 0x70), in.sleb()};
                if (stack[depth].reg == kReturnAddress) {
                    stack[depth].kind = Term::kConstant;
                    stack[depth].offset += static_cast<int64_t>(pc);
                }
                ++depth;
                break;
            case 0x06:  // DW_OP_deref
                if (depth < 1 || top->kind != Term::kRegister) return false;
                top->kind = Term::kSavedAtRegister;
                break;
            case 0x1a:  // DW_OP_and
            case 0x22:  // DW_OP_plus
            case 0x24:  // DW_OP_shl
            case 0x2a:  // DW_OP_ge
            {
                if (depth < 2 || top->kind != Term::kConstant) return false;
                const int64_t right = top->offset;
                Term& left = top[-1];
                --depth;
                if (op == 0x22) {
                    if (left.kind == Term::kSavedAtRegister) return false;
                    if (__builtin_add_overflow(left.offset, right, &left.offset)) return false;
                    break;
                }
                if (left.kind != Term::kConstant || (op == 0x24 && (right < 0 || right > 31))) return false;
                left.offset = op == 0x1a ? left.offset & right
                              : op == 0x2a
                                  ? left.offset >= right
                                  : static_cast<int64_t>(static_cast<uint64_t>(left.offset) << right);
                break;
            }
            default:
                return false;
        }
    }
    if (!in.ok || depth != 1) return false;
    *result = stack[0];
    return true;
}

template <typename T>
bool fits(int64_t value) {
    return value >= std::numeric_limits<T>::min() && value <= std::numeric_limits<T>::max();
}

bool set_cfa(const CodeObject& object, const CfiRow& row, Rule* rule) {
    Term cfa{Term::kRegister, row.cfa_register, row.cfa_value};
    if (row.cfa_is_expression && !evaluate(row_expression(object, row.cfa_value), rule->pc, &cfa))
        return false;
    if (cfa.kind == Term::kConstant || !fits<int32_t>(cfa.offset)) return false;
    if (cfa.reg == kRspRegister && cfa.kind == Term::kRegister) {
        rule->cfa = kCfaSp;
    } else if (cfa.reg == kRbpRegister) {
        rule->cfa = cfa.kind == Term::kRegister ? kCfaRbp : kCfaDerefRbp;
    } else {
        return false;
    }
    rule->cfa_offset = static_cast<int32_t>(cfa.offset);
    return true;
}

bool set_rbp(const CodeObject& object, const CfiRow& row, Rule* rule) {
    const int32_t value = row.value[kRbpRegister];
    switch (row.rule[kRbpRegister]) {
        case RegisterRule::kUnspecified:
        case RegisterRule::kSame:
            rule->rbp = kRbpSame;
            return true;
        case RegisterRule::kOffset:
            rule->rbp = kRbpAtCfa;
            rule->rbp_offset = static_cast<int16_t>(value);
            return fits<int16_t>(value);
        case RegisterRule::kExpression: {
            Term saved;
            if (!evaluate(row_expression(object, value), rule->pc, &saved)) return false;
            if (saved.kind != Term::kRegister || saved.reg != kRbpRegister) return false;
            rule->rbp = kRbpAtRbp;
            rule->rbp_offset = static_cast<int16_t>(saved.offset);
            return fits<int16_t>(saved.offset);
        }
        default:
            return false;
    }
}

bool caller_is_at_cfa(const CfiRow& row) {
    const bool sp_is_cfa =
        row.rule[kRspRegister] == RegisterRule::kUnspecified ||
        (row.rule[kRspRegister] == RegisterRule::kValOffset && row.value[kRspRegister] == 0);
    return sp_is_cfa && row.rule[kReturnAddress] == RegisterRule::kOffset && row.value[kReturnAddress] == -8;
}

}

Rule make_rule(const CodeObject* object, uint64_t lookup_pc) {
    Rule rule{lookup_pc, 0, kCfaNoCfi, kRbpSame, 0};
    CfiRow row;
    if (!object) return rule;
    if (!find_cfi_row(*object, lookup_pc, &row)) {
        if (is_made_up_return_address(*object, lookup_pc + 1)) rule.cfa = kCfaOutermost;
        return rule;
    }
    const Rule full{lookup_pc, 0, kCfaFull, kRbpSame, 0};
    if (row.signal_frame) return full;
    if (row.rule[kReturnAddress] == RegisterRule::kUndefined) {
        rule.cfa = kCfaOutermost;
        return rule;
    }
    if (!caller_is_at_cfa(row) || !set_cfa(*object, row, &rule) || !set_rbp(*object, row, &rule)) return full;
    return rule;
}

}
