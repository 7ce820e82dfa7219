// The instructions of call frame information (DWARF 5, 6.4.2), interpreted for the three registers that a row
// speaks of: the CFA, rbp and the return address.
#include <algorithm>
#include <cstdlib>

#include "symbolizer/unwind/cfi_reader.h"

namespace unfreed::unwind {
namespace {

constexpr std::uint64_t kRbp = 6, kRsp = 7, kReturnAddress = 16;

enum Op : std::uint8_t {
    kNop = 0x00,
    kSetLoc = 0x01,
    kAdvance1 = 0x02,
    kAdvance2 = 0x03,
    kAdvance4 = 0x04,
    kOffsetExtended = 0x05,
    kRestoreExtended = 0x06,
    kUndefined = 0x07,
    kSameValue = 0x08,
    kRegister = 0x09,
    kRememberState = 0x0a,
    kRestoreState = 0x0b,
    kDefCfa = 0x0c,
    kDefCfaRegister = 0x0d,
    kDefCfaOffset = 0x0e,
    kDefCfaExpression = 0x0f,
    kExpression = 0x10,
    kOffsetExtendedSf = 0x11,
    kDefCfaSf = 0x12,
    kDefCfaOffsetSf = 0x13,
    kValOffset = 0x14,
    kValOffsetSf = 0x15,
    kValExpression = 0x16,
    kGnuArgsSize = 0x2e,
    kGnuNegativeOffset = 0x2f,
    kAdvance = 0x40,
    kOffset = 0x80,
    kRestore = 0xc0,
};
enum Dw : std::uint8_t { kDeref = 0x06, kPlusUconst = 0x23, kBreg0 = 0x70, kBreg31 = 0x8f };

using Bytes = std::span<const std::byte>;

// Where a register of the caller is.
struct Place {
    enum Kind : std::uint8_t { kUnsaid, kLost, kSame, kAtCfa, kExpression, kOther } kind = kUnsaid;
    std::int64_t offset = 0;
    Bytes expression;
};

struct State {
    std::uint64_t cfa_register = UINT64_MAX;
    std::int64_t cfa_offset = 0;
    Bytes cfa_expression;  // not empty: counts instead of register and offset
    Place rbp;
    Place return_address;
};

// DW_OP_breg<reg> <offset>, then what `rest` is left with.
struct BaseRegister {
    std::uint64_t reg = UINT64_MAX;
    std::int64_t offset = 0;
    Bytes rest;
};
BaseRegister base_register(Bytes expression) {
    Cursor cursor(expression, 0);
    const auto op = cursor.take<std::uint8_t>();
    if (op < kBreg0 || op > kBreg31) return {};
    BaseRegister base;
    base.reg = op - kBreg0;
    base.offset = cursor.sleb();
    if (cursor.failed()) return {};
    base.rest = expression.subspan(cursor.offset());
    return base;
}
bool is(Bytes bytes, std::initializer_list<std::uint8_t> wanted) {
    return std::equal(bytes.begin(), bytes.end(), wanted.begin(), wanted.end(),
                      [](std::byte a, std::uint8_t b) { return std::to_integer<std::uint8_t>(a) == b; });
}

// Offsets in a row count words; nothing: it does not fit.
template <class T>
bool to_words(std::int64_t bytes, T& words) {
    if (bytes % 8 != 0) return false;
    words = static_cast<T>(bytes / 8);
    return words == bytes / 8;
}

constexpr uf_rule kUnsupported{0, 0, UF_CFA_UNSUPPORTED};

// The frame that the kernel leaves for a signal handler, as libc's __restore_rt describes it.
bool is_signal_frame(const State& state) {
    const auto cfa = base_register(state.cfa_expression);
    const auto ip = base_register(state.return_address.expression);
    const auto bp = base_register(state.rbp.expression);
    return cfa.reg == kRsp && cfa.offset == UF_SIGFRAME_RSP && is(cfa.rest, {kDeref}) && ip.reg == kRsp &&
           ip.offset == UF_SIGFRAME_RIP && ip.rest.empty() && bp.reg == kRsp &&
           bp.offset == UF_SIGFRAME_RBP && bp.rest.empty() &&
           state.return_address.kind == Place::kExpression && state.rbp.kind == Place::kExpression;
}

uf_rule make_rule(const State& state) {
    if (state.return_address.kind == Place::kLost) return {0, 0, UF_CFA_END};
    if (!state.cfa_expression.empty() && is_signal_frame(state)) return {0, 0, UF_CFA_SIGNAL};
    if (state.return_address.kind != Place::kAtCfa || state.return_address.offset != -8) return kUnsupported;

    uf_rule rule{};
    std::uint8_t cfa_kind = UF_CFA_UNSUPPORTED;
    if (state.cfa_expression.empty()) {
        if (state.cfa_register == kRsp) cfa_kind = UF_CFA_RSP;
        if (state.cfa_register == kRbp) cfa_kind = UF_CFA_RBP;
        if (!to_words(state.cfa_offset, rule.cfa)) return kUnsupported;
    } else {
        const auto base = base_register(state.cfa_expression);
        if (base.reg == kRsp && base.offset == 8 &&
            // rsp + 8 + ((rip & 15) >= 11) * 8, as binutils describes the procedure linkage table
            is(base.rest, {0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22})) {
            cfa_kind = UF_CFA_PLT;
        } else if (base.reg == kRbp && is(base.rest, {kDeref})) {
            cfa_kind = UF_CFA_RBP_DEREF;
        } else if (base.reg == kRsp && is(base.rest, {kDeref, kPlusUconst, 8})) {
            cfa_kind = UF_CFA_RSP_DEREF8;
        }
        if (!to_words(base.offset, rule.cfa)) return kUnsupported;
    }
    if (cfa_kind == UF_CFA_UNSUPPORTED) return kUnsupported;

    std::uint8_t rbp_kind = UF_RBP_LOST;
    if (state.rbp.kind == Place::kUnsaid || state.rbp.kind == Place::kSame) {
        rbp_kind = UF_RBP_SAME;
    } else if (state.rbp.kind == Place::kAtCfa && to_words(state.rbp.offset, rule.rbp)) {
        rbp_kind = UF_RBP_AT_CFA;
    } else if (state.rbp.kind == Place::kExpression) {
        const auto base = base_register(state.rbp.expression);
        if (base.reg == kRbp && base.rest.empty() && to_words(base.offset, rule.rbp))
            rbp_kind = UF_RBP_AT_RBP;
    }
    if (rbp_kind == UF_RBP_LOST) rule.rbp = 0;
    rule.kind = static_cast<std::uint8_t>(cfa_kind | rbp_kind << 4);
    return rule;
}

class Program {
  public:
    Program(const Cie& cie, const Fde& fde, std::uint64_t base, std::vector<uf_row>& rows)
        : cie_(cie), fde_(fde), base_(base), rows_(rows), at_(fde.begin) {}

    bool run() {
        if (!execute(cie_.instructions, false)) return false;
        initial_ = state_;
        const bool good = execute(fde_.instructions, true);
        if (at_ < fde_.end) emit();
        return good;
    }

  private:
    Place* place(std::uint64_t reg, State& state) {
        if (reg == kRbp) return &state.rbp;
        if (reg == kReturnAddress) return &state.return_address;
        return nullptr;
    }
    void set(std::uint64_t reg, Place::Kind kind, std::int64_t offset = 0, Bytes expression = {}) {
        if (Place* const p = place(reg, state_)) *p = Place{kind, offset, expression};
    }
    void restore(std::uint64_t reg) {
        if (Place* const p = place(reg, state_)) *p = *place(reg, initial_);
    }
    void emit() {
        const uf_rule rule = make_rule(state_);
        const auto pc = static_cast<std::uint32_t>(at_ - base_);
        if (!rows_.empty()) {
            uf_rule& last = rows_.back().rule;
            if (last.cfa == rule.cfa && last.rbp == rule.rbp && last.kind == rule.kind) return;
            if (rows_.back().pc == pc) {
                last = rule;
                return;
            }
        }
        rows_.push_back({pc, rule});
    }
    // The state so far is the rule up to `to`. False: backwards, or out of the function.
    bool advance(std::uint64_t to) {
        if (to < at_) return false;
        if (to > at_) {
            if (at_ < fde_.end) emit();
            at_ = to;
        }
        return true;
    }
    bool execute(Cursor cursor, bool moves);

    const Cie& cie_;
    const Fde& fde_;
    std::uint64_t base_;
    std::vector<uf_row>& rows_;
    std::uint64_t at_;
    State state_;
    State initial_;
    std::vector<State> remembered_;
};

bool Program::execute(Cursor c, bool moves) {
    const auto scaled = [&](std::int64_t value) {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(value) *
                                         static_cast<std::uint64_t>(cie_.data_align));
    };
    const auto unsigned_scaled = [&](std::uint64_t value) {
        return scaled(static_cast<std::int64_t>(value));
    };
    while (!c.empty() && !c.failed()) {
        const auto byte = c.take<std::uint8_t>();
        const std::uint8_t low = byte & 0x3f;
        std::uint64_t reg = 0;
        switch (byte & 0xc0 ? byte & 0xc0 : byte) {
            case kNop:
                break;
            case kAdvance:
            case kAdvance1:
            case kAdvance2:
            case kAdvance4: {
                const std::uint64_t delta = byte == kAdvance1   ? c.take<std::uint8_t>()
                                            : byte == kAdvance2 ? c.take<std::uint16_t>()
                                            : byte == kAdvance4 ? c.take<std::uint32_t>()
                                                                : low;
                if (!moves || c.failed() || !advance(at_ + delta * cie_.code_align)) return false;
                break;
            }
            case kSetLoc: {
                const std::uint64_t to = c.pointer(cie_.pointer_encoding);
                if (!moves || c.failed() || !advance(to)) return false;
                break;
            }
            case kOffset:
                set(low, Place::kAtCfa, unsigned_scaled(c.uleb()));
                break;
            case kRestore:
                restore(low);
                break;
            case kRestoreExtended:
                restore(c.uleb());
                break;
            case kOffsetExtended:
                reg = c.uleb(), set(reg, Place::kAtCfa, unsigned_scaled(c.uleb()));
                break;
            case kOffsetExtendedSf:
                reg = c.uleb(), set(reg, Place::kAtCfa, scaled(c.sleb()));
                break;
            case kGnuNegativeOffset:
                reg = c.uleb(), set(reg, Place::kAtCfa, -unsigned_scaled(c.uleb()));
                break;
            case kUndefined:
                set(c.uleb(), Place::kLost);
                break;
            case kSameValue:
                set(c.uleb(), Place::kSame);
                break;
            case kRegister:
                reg = c.uleb(), c.uleb(), set(reg, Place::kOther);
                break;
            case kValOffset:
                reg = c.uleb(), c.uleb(), set(reg, Place::kOther);
                break;
            case kValOffsetSf:
                reg = c.uleb(), c.sleb(), set(reg, Place::kOther);
                break;
            case kExpression:
                reg = c.uleb(), set(reg, Place::kExpression, 0, c.take_bytes(c.uleb()));
                break;
            case kValExpression:
                reg = c.uleb(), c.take_bytes(c.uleb()), set(reg, Place::kOther);
                break;
            case kRememberState:
                if (remembered_.size() == 64) return false;  // deeper than any compiler goes
                remembered_.push_back(state_);
                break;
            case kRestoreState:
                if (remembered_.empty()) return false;
                state_ = remembered_.back();
                remembered_.pop_back();
                break;
            case kDefCfa:
            case kDefCfaSf:
                state_.cfa_register = c.uleb();
                state_.cfa_offset = byte == kDefCfa ? static_cast<std::int64_t>(c.uleb()) : scaled(c.sleb());
                state_.cfa_expression = {};
                break;
            case kDefCfaRegister:
                state_.cfa_register = c.uleb();
                state_.cfa_expression = {};
                break;
            case kDefCfaOffset:
                state_.cfa_offset = static_cast<std::int64_t>(c.uleb());
                break;
            case kDefCfaOffsetSf:
                state_.cfa_offset = scaled(c.sleb());
                break;
            case kDefCfaExpression:
                state_.cfa_expression = c.take_bytes(c.uleb());
                break;
            case kGnuArgsSize:
                c.uleb();
                break;
            default:
                return false;
        }
    }
    return !c.failed();
}

}  // namespace

bool append_rows(const Cie& cie, const Fde& fde, std::uint64_t base, std::vector<uf_row>& rows) {
    return Program(cie, fde, base, rows).run();
}

}  // namespace unfreed::unwind
