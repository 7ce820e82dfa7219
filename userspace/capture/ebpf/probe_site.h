// Where in a function a probe is cheap: on the first instruction that the kernel emulates rather than steps
// over (decoder.h), as long as the arguments are still in their registers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace unfreed::ebpf {

struct ProbeSite {
    std::uint32_t offset = 0;  // from the function's first byte
    bool emulated = false;
};

// `code`: the function's bytes, its first one included. `arguments`: how many of rdi, rsi, rdx must still
// hold what the caller gave. `entry_stack`: rsp too must be as on entry (a return probe takes the return
// address from there). Only offsets that every call passes exactly once count; with none found, the entry
// itself.
ProbeSite choose_probe_site(std::span<const std::byte> code, unsigned arguments, bool entry_stack);

// Where the direct calls and jumps of `code`, whose first byte is at `address`, go.
std::vector<std::uint64_t> targets_of(std::span<const std::byte> code, std::uint64_t address);

// Does the function call or jump to an address that `code`'s own addresses, from `address` on, make `target`?
bool calls(std::span<const std::byte> code, std::uint64_t address, std::uint64_t target);

}  // namespace unfreed::ebpf
