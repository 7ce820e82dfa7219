#include "tests/unit/preload/elfutils_oracle.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace unfreed::preload {
namespace {

constexpr uint64_t kWords = 1 << 17;

struct Machine {
    const Registers& registers;
    const MadeUpStack& stack;
    std::optional<uint64_t> cfa;

    std::optional<uint64_t> value_of(uint64_t number) const {
        if (number >= kDwarfRegisters) return {};
        return registers.r[number];
    }

    // The value that operations leave on top; nothing when they need what is not modelled. Location
    // descriptions' DW_OP_stack_value is the caller's business.
    std::optional<uint64_t> run(const Dwarf_Op* ops, size_t count) const {
        std::vector<uint64_t> values;
        const auto pop = [&] {
            const uint64_t value = values.back();
            values.pop_back();
            return value;
        };
        for (size_t i = 0; i < count; ++i) {
            const Dwarf_Op& op = ops[i];
            std::optional<uint64_t> pushed;
            if (op.atom == DW_OP_drop && !values.empty()) {
                values.pop_back();
                continue;
            }
            if (op.atom >= DW_OP_lit0 && op.atom <= DW_OP_lit31) {
                pushed = op.atom - DW_OP_lit0;
            } else if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31) {
                const auto base = value_of(op.atom - DW_OP_breg0);
                if (!base) return {};
                pushed = *base + op.number;
            } else if (op.atom == DW_OP_bregx) {
                const auto base = value_of(op.number);
                if (!base) return {};
                pushed = *base + op.number2;
            } else if (op.atom == DW_OP_call_frame_cfa) {
                if (!cfa) return {};
                pushed = *cfa;
            } else if (op.atom >= DW_OP_const1u && op.atom <= DW_OP_consts) {
                pushed = op.number;
            } else if (op.atom == DW_OP_deref && !values.empty()) {
                pushed = stack.word(pop());
                if (!pushed) return {};
            } else if (op.atom == DW_OP_plus_uconst && !values.empty()) {
                pushed = pop() + op.number;
            } else if (values.size() >= 2) {
                const uint64_t right = pop(), left = pop();
                if (op.atom == DW_OP_plus) pushed = left + right;
                if (op.atom == DW_OP_minus) pushed = left - right;
                if (op.atom == DW_OP_and) pushed = left & right;
                if (op.atom == DW_OP_shl) pushed = left << right;
                if (op.atom == DW_OP_ge) pushed = static_cast<int64_t>(left) >= static_cast<int64_t>(right);
            }
            if (!pushed) return {};
            values.push_back(*pushed);
        }
        if (values.empty()) return {};
        return values.back();
    }
};

bool is_register_plus_constant(const Dwarf_Op* ops, size_t count) {
    if (count != 1) return false;
    const uint64_t number = ops->atom == DW_OP_bregx ? ops->number : ops->atom - DW_OP_breg0;
    return number == kRbpRegister || number == kRspRegister;
}

bool is_saved_at_cfa(const Dwarf_Op* ops, size_t count) {
    return (count == 1 && ops[0].atom == DW_OP_call_frame_cfa) ||
           (count == 2 && ops[0].atom == DW_OP_call_frame_cfa && ops[1].atom == DW_OP_plus_uconst);
}

OracleRegister find_register(Dwarf_Frame* frame, int number, const Machine& machine, bool* saved_at_cfa) {
    Dwarf_Op memory[3];
    Dwarf_Op* ops = nullptr;
    size_t count = 0;
    if (dwarf_frame_register(frame, number, memory, &ops, &count) != 0) {
        throw std::runtime_error(dwarf_errmsg(-1));
    }
    *saved_at_cfa = is_saved_at_cfa(ops, count);
    if (count == 0) return {ops ? OracleRegister::kLost : OracleRegister::kSame, 0};
    if (count == 1 && (ops->atom == DW_OP_regx || (ops->atom >= DW_OP_reg0 && ops->atom <= DW_OP_reg31))) {
        const auto value = machine.value_of(ops->atom == DW_OP_regx ? ops->number : ops->atom - DW_OP_reg0);
        return value ? OracleRegister{OracleRegister::kValue, *value}
                     : OracleRegister{OracleRegister::kLost, 0};
    }
    const bool is_value = ops[count - 1].atom == DW_OP_stack_value;
    const auto result = machine.run(ops, count - is_value);
    if (!result) return {OracleRegister::kNotEvaluated, 0};
    return {is_value ? OracleRegister::kValue : OracleRegister::kSavedAt, *result};
}

// What one step and one rule say, against the oracle's row. Empty: they agree.
std::string differences_at(uint64_t pc, const OracleRow& row, const CodeObject& object,
                           const MadeUpStack& stack, uint8_t* rule_kind) {
    std::ostringstream out;
    const Registers frame = stack.registers(pc);
    Registers caller = frame;
    const Step step = full_step(caller, &object, stack.memory());
    const Rule rule = make_rule(&object, pc);
    *rule_kind = rule.cfa;
    const OracleRegister& return_address = row.registers[kReturnAddress];
    if (return_address.kind == OracleRegister::kLost) {
        if (step != Step::kOutermost) out << " not outermost";
        if (rule.cfa != (row.signal_frame ? kCfaFull : kCfaOutermost)) out << " rule not outermost";
        return out.str();
    }
    if (return_address.kind == OracleRegister::kSame) {
        return step == Step::kNoCfi ? "" : " a caller that is the frame itself";
    }
    const bool readable =
        row.cfa &&
        (return_address.kind == OracleRegister::kValue ||
         (return_address.kind == OracleRegister::kSavedAt && stack.word(return_address.value).has_value()));
    if (!readable) {
        if (step != Step::kBadMemory) out << " read what is not the stack";
    } else if (step != Step::kStepped) {
        out << " no step: " << static_cast<int>(step);
    } else {
        if (caller.exact != row.signal_frame) out << " signal frame";
        for (int n = 0; n < kDwarfRegisters; ++n) {
            const OracleRegister& expected = row.registers[n];
            const bool known = caller.known & (1u << n);
            bool same = true;
            switch (expected.kind) {
                case OracleRegister::kLost:
                    same = !known;
                    break;
                case OracleRegister::kSame:
                    same = known && caller.location[n] == 0 && caller.r[n] == frame.r[n];
                    break;
                case OracleRegister::kSavedAt:
                    same = known && caller.location[n] == expected.value;
                    break;
                case OracleRegister::kValue:
                    same = known && caller.location[n] == 0 && caller.r[n] == expected.value;
                    break;
                case OracleRegister::kNotEvaluated:
                    same = false;
                    break;
            }
            if (!same) out << " register " << n;
        }
    }
    if (rule.cfa == kCfaNoCfi) out << " no rule";
    if (rule.cfa == kCfaOutermost) out << " rule is outermost";
    if (rule.cfa == kCfaFull) {
        if (row.simple) out << " rule needlessly full";
        return out.str();
    }
    if (row.signal_frame) out << " rule for a signal frame";
    const uint64_t base = frame.r[rule.cfa == kCfaSp ? kRspRegister : kRbpRegister];
    const uint64_t place = base + static_cast<uint64_t>(int64_t{rule.cfa_offset});
    const std::optional<uint64_t> cfa = rule.cfa == kCfaDerefRbp ? stack.word(place) : place;
    if (!cfa || cfa != row.cfa) return out.str() + " rule's CFA";
    if (return_address.value != *cfa - 8) out << " rule's return address";
    const auto offset = static_cast<uint64_t>(int64_t{rule.rbp_offset});
    const OracleRegister& rbp = row.registers[kRbpRegister];
    const bool rbp_agrees =
        rule.rbp == kRbpSame
            ? rbp.kind == OracleRegister::kSame
            : rbp.kind == OracleRegister::kSavedAt &&
                  rbp.value == (rule.rbp == kRbpAtCfa ? *cfa : frame.r[kRbpRegister]) + offset;
    if (!rbp_agrees) out << " rule's rbp";
    return out.str();
}

}

MadeUpStack::MadeUpStack() : words_(kWords) {
    // A fixed mixture: every word is the address of another, never 0, 8-aligned.
    for (uint64_t i = 0; i < kWords; ++i) {
        words_[i] = reinterpret_cast<uint64_t>(&words_[kWords / 4 + (i * 2654435761u >> 7) % (kWords / 2)]);
    }
}

Registers MadeUpStack::registers(uint64_t pc) const {
    Registers registers{};
    for (uint64_t n = 0; n < kDwarfRegisters; ++n) {
        registers.r[n] = reinterpret_cast<uint64_t>(&words_[kWords / 2 + n * 1031]);
    }
    registers.r[kReturnAddress] = pc;
    registers.known = registers.live = (1u << kDwarfRegisters) - 1;
    registers.exact = true;
    return registers;
}

StackMemory MadeUpStack::memory() const {
    const auto low = reinterpret_cast<uint64_t>(words_.data());
    return {low, low + kWords * 8, nullptr, nullptr, nullptr};
}

std::optional<uint64_t> MadeUpStack::word(uint64_t address) const {
    const auto low = reinterpret_cast<uint64_t>(words_.data());
    if (address < low || address - low > (kWords - 1) * 8) return {};
    uint64_t word;  // leaf functions may leave sp unaligned
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof(word));
    return word;
}

ElfutilsOracle::ElfutilsOracle(const MappedElf& elf) : mapped_(elf) {
    elf_version(EV_CURRENT);
    elf_ = elf_begin(elf.descriptor(), ELF_C_READ_MMAP, nullptr);
    cfi_ = dwarf_getcfi_elf(elf_);
    if (!cfi_) {
        elf_end(elf_);
        throw std::runtime_error(dwarf_errmsg(-1));
    }
}

ElfutilsOracle::~ElfutilsOracle() {
    dwarf_cfi_end(cfi_);
    elf_end(elf_);
}

std::optional<OracleRow> ElfutilsOracle::row(uint64_t pc, const MadeUpStack& stack) const {
    Dwarf_Frame* found = nullptr;
    if (dwarf_cfi_addrframe(cfi_, pc - mapped_.bias(), &found) != 0) return {};
    const std::unique_ptr<Dwarf_Frame, decltype(&std::free)> frame{found, &std::free};
    OracleRow row{};
    if (dwarf_frame_info(found, &row.begin, &row.end, &row.signal_frame) != kReturnAddress) {
        throw std::runtime_error("another return address column");
    }
    row.begin += mapped_.bias();
    row.end += mapped_.bias();
    const Registers registers = stack.registers(pc);
    Machine machine{registers, stack, {}};
    Dwarf_Op* ops = nullptr;
    size_t count = 0;
    if (dwarf_frame_cfa(found, &ops, &count) != 0) return {};  // half a definition on top of an expression
    row.cfa = machine.run(ops, count);
    machine.cfa = row.cfa;
    row.simple = !row.signal_frame && is_register_plus_constant(ops, count);
    for (int n = 0; n < kDwarfRegisters; ++n) {
        bool saved_at_cfa = false;
        row.registers[n] = find_register(found, n, machine, &saved_at_cfa);
        if (n == kRbpRegister && !saved_at_cfa && row.registers[n].kind != OracleRegister::kSame)
            row.simple = false;
    }
    // elfutils (0.188, backends/x86_64_cfi.c) gives rbx's default to register 0: by the psABI it is rbx that
    // a call keeps, and rax that it does not.
    if (row.registers[kRax].kind == OracleRegister::kSame) row.registers[kRax].kind = OracleRegister::kLost;
    if (row.registers[kRbx].kind == OracleRegister::kLost) row.registers[kRbx].kind = OracleRegister::kSame;
    const OracleRegister& return_address = row.registers[kReturnAddress];
    if (return_address.kind != OracleRegister::kSavedAt || return_address.value != row.cfa.value_or(0) - 8) {
        row.simple = false;
    }
    return row;
}

Comparison compare_with_elfutils(const std::string& path, unsigned stride) {
    constexpr size_t kShown = 10;
    const MappedElf elf{path};
    const ElfutilsOracle oracle{elf};
    const MadeUpStack stack;
    Comparison comparison;
    const auto differs = [&](uint64_t pc, const std::string& what) {
        if (comparison.differences.size() >= kShown || what.empty()) return;
        std::ostringstream out;
        out << path << " at 0x" << std::hex << pc - elf.bias() << ":" << what;
        comparison.differences.push_back(out.str());
    };
    const std::vector<uint64_t>& starts = elf.function_starts();
    for (size_t i = 0; i < starts.size(); i += stride) {
        const uint64_t limit = i + 1 < starts.size() ? starts[i + 1] : elf.object().map_end;
        ++comparison.functions;
        uint64_t pc = starts[i];
        while (pc < limit) {
            const auto row = oracle.row(pc, stack);
            if (!row) break;
            ++comparison.rows;
            comparison.simple += row->simple;
            uint8_t rule = kCfaNoCfi;
            const uint64_t last = row->end - 1;
            differs(pc, differences_at(pc, *row, elf.object(), stack, &rule));
            ++comparison.rules[rule];
            ++comparison.pcs;
            if (last != pc) {
                const auto row_at_last = oracle.row(last, stack);
                differs(last, row_at_last ? differences_at(last, *row_at_last, elf.object(), stack, &rule)
                                          : " no row");
                ++comparison.pcs;
            }
            pc = row->end;
        }
        // Between this function and the next there is nothing to know.
        CfiRow unused;
        if (pc < limit && find_cfi_row(elf.object(), pc, &unused))
            differs(pc, " a row where elfutils has none");
    }
    return comparison;
}

}
