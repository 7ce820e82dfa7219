// The instructions of one function and how control goes between them: what the search for a block's birth
// (block_sites.h) looks at.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace unfreed::ebpf {

// Where a value is: a register's number, or kSlot + the distance from rsp at the function's entry.
using Location = std::int64_t;
constexpr Location kSlot = 1 << 20;
constexpr Location kNowhere = -1;

struct Instruction {
    std::uint32_t offset = 0;  // from the function's first byte
    bool emulated = false;     // a probe on it is cheap (decoder.h)
    bool calls = false;        // and comes back
    bool returns = false;      // ret
    std::uint64_t target = 0;  // of a jump to code outside: as an offset from the function's first byte
    bool leaves = false;       // to code outside of the function
    std::int32_t next = -1;    // index of the one that follows; -1: none does
    std::int32_t taken = -1;   // and of the one jumped to
    std::int64_t depth = 0;    // bytes pushed since the entry, before it
    std::uint16_t writes = 0;  // bits of registers, those that a call does not keep too
    Location from = kNowhere;  // a copy of 64 bits:
    Location to = kNowhere;  // from there to here; without `from`, what is written to here is something else
    Location zeroed = kNowhere;  // the register that is set to 0
    bool pushes_rbp = false;
    std::int32_t factor = -1;    // register that rax is multiplied by, the product to rdx and rax
    std::int32_t tested = -1;    // a conditional jump that asks just whether this register is zero
    bool taken_if_zero = false;  // and jumps if it is
};

// In order of their offsets, [0] the entry; nothing: a flow that cannot be known (a jump by a table, code
// that is no code, a stack pointer that is computed).
std::optional<std::vector<Instruction>> flow_graph(std::span<const std::byte> code);

}  // namespace unfreed::ebpf
