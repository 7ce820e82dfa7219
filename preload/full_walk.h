// The complete step to the caller, for frames that a 16-byte rule (rule.h) cannot express: signal frames, CFA
// in any register, DWARF expressions. It follows every callee-saved register by *location*, and reads a saved
// register only when some frame needs its value.
//
// What a walk depends on, exactly, beyond the unwind tables: the pc and sp it started with; the slots
// reported to slot_read; and the starting values of the registers in Registers::live_used. Equal inputs give
// an equal walk.
//
// Same surroundings as cfi.h: any thread, signal handlers, no allocation, no lock, no libc, errno untouched.
#pragma once
#include <cstdint>

#include "preload/cfi.h"

namespace unfreed::preload {

// A frame's registers, by DWARF number (DwarfRegister; 16 is the pc).
struct Registers {
    uint64_t r[kDwarfRegisters];  // the value, where known and location is 0. pc and sp: always the value
    uint64_t location[kDwarfRegisters];  // where the value is saved; 0: it is in r, as it was where the walk
                                         // began, or computed by a val_offset or val_expression
    uint32_t known;                      // bit n: register n is known, by value or by location
    uint32_t live;       // bit n: still the starting value, in r. Starter: set equal to `known`
    uint32_t live_used;  // bit n: the starting value was used (pc and sp aside). Starter: set to 0
    bool exact;          // pc is exact (interrupted frame): look up pc, else pc - 1
};

// The memory that the walk may read. All 8-byte slots that are read are reported, in order; a slot may be
// reported more than once. Reported: return addresses; saved registers whose value was needed for a CFA or an
// expression; what expressions dereference (for signal frames: fields of the ucontext). Not reported: saved
// registers that no frame needed.
struct StackMemory {
    uint64_t low, high;  // [low, high) is readable
    bool (*readable)(void* context,
                     uint64_t address);  // are 8 bytes at an address outside of it? null: never
    void (*slot_read)(void* context, uint64_t address, uint64_t value);  // null: nobody listens
    void* context;
};

enum class Step {
    kStepped,          // `registers` are now the caller's
    kOutermost,        // there is no caller: the tables say so, or the return address is 0
    kNoCfi,            // no unwind information, or malformed
    kBadMemory,        // a slot is not readable, or the step does not move
    kUnknownRegister,  // the frame needs a register that an inner frame did not keep
};

// One step to the caller of `registers`; `object` maps its pc (null: kNoCfi). Unless kStepped, `registers`
// stay. A signal frame's registers are all known afterwards, and exact.
Step full_step(Registers& registers, const CodeObject* object, const StackMemory& memory);

// One step by frame pointer, for code without unwind information that keeps one (JIT): the caller is at [rbp
// + 8], its sp is rbp + 16, its rbp is saved at [rbp]. False, and nothing changed, unless rbp is an 8-aligned
// readable address not below sp and a return address is there. Afterwards only pc, sp and rbp are known.
bool frame_pointer_step(Registers& registers, const StackMemory& memory);

}
