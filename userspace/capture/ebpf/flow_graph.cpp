#include "userspace/capture/ebpf/flow_graph.h"

#include <algorithm>
#include <map>

#include "userspace/capture/ebpf/decoder.h"

namespace unfreed::ebpf {
namespace {

// rax, rcx, rdx, rsi, rdi, r8 to r11: what a call does not keep (System V ABI, 3.2.1).
constexpr std::uint16_t kCallClobbers = 0x0fc7;

bool is_padding(const Decoder& decoder) {
    return decoder.instruction.mnemonic == ZYDIS_MNEMONIC_NOP ||
           decoder.instruction.mnemonic == ZYDIS_MNEMONIC_INT3;
}

// Where an operand lies, if that is a whole register or a slot of the function's own frame.
Location location_of(const ZydisDecodedOperand& operand, std::int64_t depth) {
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.size == 64) {
        const auto number = Decoder::number(operand.reg.value);
        return number ? static_cast<Location>(*number) : kNowhere;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RSP &&
        operand.mem.index == ZYDIS_REGISTER_NONE) {
        return kSlot + static_cast<std::int32_t>(operand.mem.disp.value) - depth;
    }
    return kNowhere;
}

// How far the instruction moves rsp down; nothing: to where cannot be said.
std::optional<std::int64_t> pushes(const Decoder& decoder) {
    switch (decoder.instruction.mnemonic) {
        case ZYDIS_MNEMONIC_PUSH:
            return 8;
        case ZYDIS_MNEMONIC_POP:
            return -8;
        case ZYDIS_MNEMONIC_SUB:
        case ZYDIS_MNEMONIC_ADD: {
            if (!decoder.writes(kRsp)) return 0;
            if (decoder.operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE) return std::nullopt;
            const std::int64_t bytes = static_cast<std::int32_t>(decoder.operands[1].imm.value.s);
            return decoder.instruction.mnemonic == ZYDIS_MNEMONIC_SUB ? bytes : -bytes;
        }
        case ZYDIS_MNEMONIC_CALL:
        case ZYDIS_MNEMONIC_RET:
            return 0;
        default:
            return decoder.writes(kRsp) ? std::nullopt : std::optional<std::int64_t>(0);
    }
}

void note_values(const Decoder& decoder, std::int64_t depth, Instruction& at) {
    for (unsigned reg = 0; reg < 16; ++reg) {
        if (decoder.writes(reg)) at.writes |= static_cast<std::uint16_t>(1u << reg);
    }
    const ZydisDecodedInstruction& instruction = decoder.instruction;
    const ZydisDecodedOperand& first = decoder.operands[0];
    const ZydisDecodedOperand& second = decoder.operands[1];
    if (instruction.mnemonic == ZYDIS_MNEMONIC_MUL && first.size == 64 &&
        first.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        at.factor = static_cast<std::int32_t>(Decoder::number(first.reg.value).value_or(kRsp));
    }
    at.pushes_rbp = instruction.mnemonic == ZYDIS_MNEMONIC_PUSH &&
                    first.type == ZYDIS_OPERAND_TYPE_REGISTER && first.reg.value == ZYDIS_REGISTER_RBP;
    if (instruction.meta.category == ZYDIS_CATEGORY_CALL) at.writes |= kCallClobbers;
    if (instruction.operand_count_visible == 2 && (first.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) {
        at.to = location_of(first, depth);
        if (instruction.mnemonic == ZYDIS_MNEMONIC_MOV && first.size == 64)
            at.from = location_of(second, depth);
        const bool zeroes = instruction.mnemonic == ZYDIS_MNEMONIC_XOR &&
                            first.type == ZYDIS_OPERAND_TYPE_REGISTER && second.type == first.type &&
                            first.reg.value == second.reg.value && first.size >= 32;
        if (const auto reg = zeroes ? Decoder::number(first.reg.value) : std::nullopt)
            at.zeroed = static_cast<Location>(*reg);
    }
}

// A call with padding behind it, and then code that is only jumped to from before: it does not come back.
// (Where a loop begins behind padding, it is jumped to from behind.)
void end_at_calls_that_do_not_return(std::vector<Instruction>& all, const std::vector<bool>& padding) {
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (!all[i].calls) continue;
        std::size_t after = i + 1;
        while (after < all.size() && padding[after]) ++after;
        if (after == i + 1 && after < all.size()) continue;
        bool from_before = after == all.size(), from_behind = false;
        for (std::size_t j = 0; j < all.size(); ++j) {
            if (after == all.size() || all[j].taken != static_cast<std::int32_t>(after)) continue;
            (j < i ? from_before : from_behind) = true;
        }
        if (from_before && !from_behind) all[i].next = -1;
    }
}

}  // namespace

std::optional<std::vector<Instruction>> flow_graph(std::span<const std::byte> code) {
    std::vector<Instruction> all;
    std::vector<bool> padding;
    std::map<std::uint64_t, std::int32_t> at_offset;
    std::vector<std::optional<std::uint64_t>> targets;
    std::vector<std::optional<std::int64_t>> moves;
    Decoder decoder;
    for (std::size_t at = 0; at < code.size();) {
        if (!decoder.decode(code.subspan(at))) return std::nullopt;
        Instruction now;
        now.offset = static_cast<std::uint32_t>(at);
        now.emulated = is_emulated(decoder.instruction, code.subspan(at));
        const auto category = decoder.instruction.meta.category;
        const auto target = decoder.target(at);
        const bool jumps = category == ZYDIS_CATEGORY_UNCOND_BR || category == ZYDIS_CATEGORY_COND_BR;
        now.calls = category == ZYDIS_CATEGORY_CALL;
        now.returns = category == ZYDIS_CATEGORY_RET;
        if (jumps && !target) return std::nullopt;
        now.leaves = jumps && *target >= code.size();
        now.target = now.leaves ? *target : 0;
        const bool goes_on = category != ZYDIS_CATEGORY_UNCOND_BR && !now.returns &&
                             decoder.instruction.mnemonic != ZYDIS_MNEMONIC_UD2 &&
                             decoder.instruction.mnemonic != ZYDIS_MNEMONIC_HLT;
        at += decoder.instruction.length;
        if (goes_on && at < code.size()) now.next = static_cast<std::int32_t>(all.size() + 1);
        at_offset[now.offset] = static_cast<std::int32_t>(all.size());
        targets.push_back(jumps && !now.leaves ? target : std::nullopt);
        moves.push_back(pushes(decoder));
        padding.push_back(is_padding(decoder));
        all.push_back(now);
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (!targets[i]) continue;
        const auto found = at_offset.find(*targets[i]);
        if (found == at_offset.end()) return std::nullopt;  // into an instruction
        all[i].taken = found->second;
    }
    end_at_calls_that_do_not_return(all, padding);

    // Depths first, from the entry on: slots are named by them.
    std::vector<bool> reached(all.size());
    std::vector<std::int32_t> open;
    if (!all.empty()) {
        reached[0] = true;
        open.push_back(0);
    }
    while (!open.empty()) {
        const auto index = static_cast<std::size_t>(open.back());
        open.pop_back();
        if (!moves[index] && !all[index].returns) return std::nullopt;
        const std::int64_t depth = all[index].depth + moves[index].value_or(0);
        for (const std::int32_t next : {all[index].next, all[index].taken}) {
            if (next < 0) continue;
            if (reached[static_cast<std::size_t>(next)]) {
                if (all[static_cast<std::size_t>(next)].depth != depth) return std::nullopt;
                continue;
            }
            reached[static_cast<std::size_t>(next)] = true;
            all[static_cast<std::size_t>(next)].depth = depth;
            open.push_back(next);
        }
    }
    std::vector<bool> jumped_to(all.size());
    for (const Instruction& from : all) {
        if (from.taken >= 0) jumped_to[static_cast<std::size_t>(from.taken)] = true;
    }
    std::int32_t tested = -1;  // by the instruction before
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (!decoder.decode(code.subspan(all[i].offset))) return std::nullopt;
        note_values(decoder, all[i].depth, all[i]);
        const auto mnemonic = decoder.instruction.mnemonic;
        const auto& operands = decoder.operands;
        if ((mnemonic == ZYDIS_MNEMONIC_JZ || mnemonic == ZYDIS_MNEMONIC_JNZ) && !jumped_to[i]) {
            all[i].tested = tested;
            all[i].taken_if_zero = mnemonic == ZYDIS_MNEMONIC_JZ;
        }
        tested = -1;
        if (mnemonic == ZYDIS_MNEMONIC_TEST && operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER && operands[0].size == 64 &&
            operands[0].reg.value == operands[1].reg.value) {
            tested = static_cast<std::int32_t>(Decoder::number(operands[0].reg.value).value_or(kRsp));
        }
    }
    return all;
}

}  // namespace unfreed::ebpf
