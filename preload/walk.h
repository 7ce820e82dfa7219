// One step of the walk: from a frame's state to its caller's, by the rule of its pc, noting all that it read.
#pragma once
#include "preload/thread.h"

namespace unfreed::preload {

enum class StepEnd : uint8_t {
    kStepped,
    kOutermost,  // the stack ends here, as its unwind information says
    kNoRule,     // code without unwind information, and no frame pointer to go by
    kBadMemory,  // a slot is not readable, or the step would not move outwards
    kTooManyChecks,
    kNeedsRegisters,  // needs registers that a walk by rules does not follow: walk_all()
};

constexpr uint64_t kMaxFrameBytes = 64ull << 20;

struct Walk {
    Thread* thread;
    Table* table;
    NewFrames* frames;
    uint64_t rbp;        // of the hook's caller
    uint64_t low, high;  // [low, high) is readable
    bool own_stack;      // nothing outside of the thread's own stack was read
    bool by_frame_pointer;
};

// SLOW. Fills the rule for `key`. What has no unwind information is not remembered: a loaded library may take
// its place.
void learn_rule(Table* table, uint64_t key, KnownRule* known);

inline const KnownRule& rule_of(Walk* walk, uint64_t key) {
    KnownRule* known = &walk->thread->rule[(key * 0x9e3779b97f4a7c15ull) >> 51];
    static_assert(kKnownRules == 1u << (64 - 51));
    if (__builtin_expect(known->key != key, 0)) learn_rule(walk->table, key, known);
    return *known;
}

// FAST. The step of nearly every frame: the CFA comes from sp, and nothing is read but the return address.
// False, and nothing is changed: it takes step().
inline __attribute__((always_inline)) bool step_by_sp(const Walk& walk, const KnownRule& rule, Frame* frame,
                                                      uint64_t* slot) {
    if (rule.cfa != kCfaSp || rule.rbp == kRbpAtRbp) return false;
    uint64_t cfa = frame->sp + static_cast<uint64_t>(static_cast<int64_t>(rule.cfa_offset));
    if (cfa <= frame->sp || cfa - frame->sp > kMaxFrameBytes || cfa - 8 < walk.low || cfa > walk.high)
        return false;
    uint64_t pc = load(cfa - 8);
    if (pc - 1 >= UF_PC_EXACT - 1) return false;
    frame->pc = pc;
    frame->sp = cfa;
    if (rule.rbp == kRbpAtCfa)
        frame->rbp_location = cfa + static_cast<uint64_t>(static_cast<int64_t>(rule.rbp_offset));
    *slot = cfa - 8;
    return true;
}

// Any step: from frames->frame[index], whose rule is `rule`, to its caller. Fills `next`, and the slot that
// its pc was read from, when stepped (slot 0: the pc of an interrupted frame, which is among the checks).
StepEnd step(Walk* walk, int index, const KnownRule& rule, Frame* next, uint64_t* slot);

// What steps are made of: whether there is a slot at `address`; its value, noted as something that the step
// from frame `index` depends on; the value of rbp in that frame, noted likewise.
bool slot_readable(Walk* walk, uint64_t address);
bool add_check(Walk* walk, int index, uint64_t address, uint64_t value);
StepEnd read_rbp(Walk* walk, int index, uint64_t* rbp);

// Makes [walk->low, walk->high) the thread's own stack if `sp` is on it.
void find_stack(Walk* walk, uint64_t sp);

// The walk with all registers, from the hook's own frame: for stacks with frames that need more than (pc, sp,
// rbp). Fills `frames` from the frame at `at` outwards, without slots and checks: such a stack is walked
// afresh each time.
StepEnd walk_all(Walk* walk, const Place& at);

}
