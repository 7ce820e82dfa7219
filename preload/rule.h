// A 16-byte unwind rule per pc: what nearly every frame needs, so that a walk costs nanoseconds. The
// unwinder's state is (pc, sp, where rbp is saved); the rule tells the caller's. The return address is always
// at CFA - 8 and the caller's sp is the CFA: a frame for which that does not hold has the rule kFull
// (full_walk.h).
//
// A rule is a pure function of the mapped unwind tables and of the pc: it may be cached for as long as the
// same file is mapped there.
#pragma once
#include <cstdint>

#include "preload/cfi.h"

namespace unfreed::preload {

// CFA: the canonical frame address, the caller's sp after its call.
enum CfaRule : uint8_t {
    kCfaSp,         // CFA = sp + cfa_offset
    kCfaRbp,        // CFA = rbp + cfa_offset
    kCfaDerefRbp,   // CFA = *(rbp + cfa_offset): gcc's realigned stack
    kCfaOutermost,  // no caller: the stack ends with this frame, by its row or as nobody called it
    kCfaFull,       // only full_step() can: signal frames, other registers, expressions
    kCfaNoCfi,      // no unwind information for this pc
    // The steps between the stacks that Go runs on (go_stack.h): from here on, the caller may be at lower
    // addresses.
    kCfaGoCall,        // from C to the goroutine that called it; cfa_offset: where asmcgocall keeps it
    kCfaGoCallOnSame,  // from C to Go that called it on the thread's own stack; likewise
    kCfaGoCallback,    // from Go to the C code that called it back; cfa_offset: Go's own view, to skip that
    kCfaGoSwitch,      // from the runtime on the thread's stack to the goroutine that asked for it
    kCfaGoExit,        // a goroutine's outermost frame: to where it was created, when asked for
};

enum RbpRule : uint8_t {
    kRbpSame,   // unchanged
    kRbpAtCfa,  // saved at CFA + rbp_offset
    kRbpAtRbp,  // saved at (this frame's rbp) + rbp_offset: gcc's realigned stack
};

struct Rule {
    uint64_t pc;         // the lookup pc that the rule is for
    int32_t cfa_offset;  // 0 where the kind has no use for it
    uint8_t cfa;         // CfaRule
    uint8_t rbp;         // RbpRule; kRbpSame where cfa is outermost, full or none
    int16_t rbp_offset;
};
static_assert(sizeof(Rule) == 16, "four to a cache line");

// The rule at `lookup_pc`: the exact pc of an interrupted frame, a return address - 1 otherwise.
// `object` is what maps it, or null: then the rule is kCfaNoCfi.
Rule make_rule(const CodeObject* object, uint64_t lookup_pc);

}
