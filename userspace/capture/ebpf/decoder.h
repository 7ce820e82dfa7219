// x86-64 instructions, one at a time, as the choice of probes looks at them.
#pragma once
#include <Zydis/Zydis.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace unfreed::ebpf {

class Decoder {
  public:
    Decoder() { ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); }

    // The first instruction of `code`; false: it is none.
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
    // Of the register that `reg` is a part of; nothing: not one of the sixteen.
    static std::optional<unsigned> number(ZydisRegister reg) {
        const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return std::nullopt;
        return static_cast<unsigned>(whole - ZYDIS_REGISTER_RAX);
    }
    // Does the instruction write to that register, or to a part of it, always or perhaps?
    bool writes(unsigned reg) const {
        for (unsigned i = 0; i < instruction.operand_count; ++i) {
            const ZydisDecodedOperand& operand = operands[i];
            if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && number(operand.reg.value) == reg) {
                return true;
            }
        }
        return false;
    }

    ZydisDecodedInstruction instruction{};
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};

  private:
    ZydisDecoder decoder_{};
};

// Numbers of registers, as the processor encodes them.
enum : unsigned { kRax = 0, kRcx = 1, kRdx = 2, kRbx = 3, kRsp = 4, kRbp = 5, kRsi = 6, kRdi = 7, kR12 = 12 };

// What x86 Linux emulates (arch/x86/kernel/uprobes.c): jmp, call, jcc, one-byte nop, push of a register.
// Anything else is copied elsewhere and single-stepped, which costs some 35 times as much in a virtual
// machine.
inline bool is_emulated(const ZydisDecodedInstruction& instruction, std::span<const std::byte> bytes) {
    const auto first = std::to_integer<std::uint8_t>(bytes[0]);
    const auto second = bytes.size() > 1 ? std::to_integer<std::uint8_t>(bytes[1]) : 0;
    const bool push = (first >= 0x50 && first <= 0x57) || (first == 0x41 && second >= 0x50 && second <= 0x57);
    const bool jump = first == 0xeb || first == 0xe9 || (first >= 0x70 && first <= 0x7f) ||
                      (first == 0x0f && second >= 0x80 && second <= 0x8f);
    const bool nop = instruction.length == 1 && first == 0x90;
    return push || jump || nop || first == 0xe8;
}

}  // namespace unfreed::ebpf
