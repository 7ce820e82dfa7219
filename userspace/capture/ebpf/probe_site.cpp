#include "userspace/capture/ebpf/probe_site.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace unfreed::ebpf {
namespace {

constexpr std::size_t kLook = 64;  // bytes from the entry: further on arguments have moved away

class Decoder {
  public:
    Decoder() { ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); }

    bool decode(std::span<const std::byte> code) {
        return ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &instruction, operands.data()));
    }
    // Target of a direct jump or call at `address`.
    std::optional<std::uint64_t> target(std::uint64_t address) const {
        if (instruction.operand_count == 0 || operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
            !operands[0].imm.is_relative) {
            return std::nullopt;
        }
        return address + instruction.length + static_cast<std::uint64_t>(operands[0].imm.value.s);
    }

    ZydisDecodedInstruction instruction{};
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};

  private:
    ZydisDecoder decoder_{};
};

bool is_emulated(const ZydisDecodedInstruction& instruction, std::span<const std::byte> bytes) {
    const auto first = std::to_integer<std::uint8_t>(bytes[0]);
    const auto second = bytes.size() > 1 ? std::to_integer<std::uint8_t>(bytes[1]) : 0;
    const bool push = (first >= 0x50 && first <= 0x57) || (first == 0x41 && second >= 0x50 && second <= 0x57);
    const bool jump = first == 0xeb || first == 0xe9 || (first >= 0x70 && first <= 0x7f) ||
                      (first == 0x0f && second >= 0x80 && second <= 0x8f);
    const bool nop = instruction.length == 1 && first == 0x90;
    return push || jump || nop || first == 0xe8;
}

bool writes(const Decoder& decoder, ZydisRegister wanted) {
    for (unsigned i = 0; i < decoder.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoder.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value) == wanted) {
            return true;
        }
    }
    return false;
}

}  // namespace

ProbeSite choose_probe_site(std::span<const std::byte> code, unsigned arguments, bool entry_stack) {
    // A jump back to an offset would make it be passed twice.
    Decoder decoder;
    std::vector<std::uint64_t> targets;
    for (std::size_t at = 0; at < code.size() && decoder.decode(code.subspan(at));) {
        if (const auto target = decoder.target(at)) targets.push_back(*target);
        at += decoder.instruction.length;
    }
    constexpr std::array kArguments{ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_RDX,
                                    ZYDIS_REGISTER_RCX};
    for (std::size_t at = 0; at < std::min(code.size(), kLook) && decoder.decode(code.subspan(at));) {
        const auto& instruction = decoder.instruction;
        const bool passed_again = std::find(targets.begin(), targets.end(), at) != targets.end();
        if (passed_again && at != 0) break;
        if (is_emulated(instruction, code.subspan(at))) return {static_cast<std::uint32_t>(at), true};
        if (instruction.meta.category == ZYDIS_CATEGORY_RET ||
            instruction.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
            instruction.meta.category == ZYDIS_CATEGORY_COND_BR ||
            instruction.meta.category == ZYDIS_CATEGORY_CALL) {
            break;
        }
        const bool clobbers = std::any_of(kArguments.begin(), kArguments.begin() + arguments,
                                          [&](ZydisRegister reg) { return writes(decoder, reg); });
        if (clobbers || (entry_stack && writes(decoder, ZYDIS_REGISTER_RSP))) break;
        at += instruction.length;
    }
    return {};
}

bool flag_tells_zero(std::span<const std::byte> code) {
    Decoder decoder;
    bool tells = false;
    for (std::size_t at = 0; at < code.size() && decoder.decode(code.subspan(at));) {
        const auto& instruction = decoder.instruction;
        if (instruction.meta.category == ZYDIS_CATEGORY_CALL) return tells;
        if (instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) return false;
        const ZydisAccessedFlags* const flags = instruction.cpu_flags;
        if (flags != nullptr &&
            ((flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & ZYDIS_CPUFLAG_ZF)) {
            const bool tests = instruction.mnemonic == ZYDIS_MNEMONIC_TEST;
            tells = tests && decoder.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                    decoder.operands[0].reg.value == ZYDIS_REGISTER_RDI &&
                    decoder.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                    decoder.operands[1].reg.value == ZYDIS_REGISTER_RDI;
        }
        at += instruction.length;
    }
    return false;
}

bool calls(std::span<const std::byte> code, std::uint64_t address, std::uint64_t target) {
    Decoder decoder;
    for (std::size_t at = 0; at < code.size() && decoder.decode(code.subspan(at));) {
        if (decoder.target(address + at) == target) return true;
        at += decoder.instruction.length;
    }
    return false;
}

}  // namespace unfreed::ebpf
