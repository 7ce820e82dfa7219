#include "userspace/capture/ebpf/probe_site.h"

#include <algorithm>
#include <array>
#include <vector>

#include "userspace/capture/ebpf/decoder.h"

namespace unfreed::ebpf {
namespace {

constexpr std::size_t kLook = 64;  // bytes from the entry: further on arguments have moved away

}  // namespace

ProbeSite choose_probe_site(std::span<const std::byte> code, unsigned arguments, bool entry_stack) {
    // A jump back to an offset would make it be passed twice.
    Decoder decoder;
    const std::vector<std::uint64_t> targets = targets_of(code, 0);
    constexpr std::array kArguments{kRdi, kRsi, kRdx, kRcx};
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
                                          [&](unsigned reg) { return decoder.writes(reg); });
        if (clobbers || (entry_stack && decoder.writes(kRsp))) break;
        at += instruction.length;
    }
    return {};
}

std::vector<std::uint64_t> targets_of(std::span<const std::byte> code, std::uint64_t address) {
    Decoder decoder;
    std::vector<std::uint64_t> targets;
    for (std::size_t at = 0; at < code.size() && decoder.decode(code.subspan(at));) {
        if (const auto target = decoder.target(address + at)) targets.push_back(*target);
        at += decoder.instruction.length;
    }
    return targets;
}

bool calls(std::span<const std::byte> code, std::uint64_t address, std::uint64_t target) {
    const auto targets = targets_of(code, address);
    return std::find(targets.begin(), targets.end(), target) != targets.end();
}

}  // namespace unfreed::ebpf
