// StackRecord: the stack that a thread unwound last, frame by frame, with everything that the unwinding read.
//
// Unwinding is a pure function: a frame's state is (pc, sp, where its caller's rbp is saved), and the step to
// its caller depends on that state, on the unwind rules at pc, and on the stack slots that it read. So if a
// new stack reaches the very state of a recorded frame, and the slots read from there on outwards still hold
// what they held, then each further frame is the recorded one: by induction over the steps, not by
// likelihood. Only the frames inside of that point are new.
//
// What could break the proof, and what guards it:
//  - other code at the same address (dlclose, dlopen): the rules change; `generation` (session.h) drops all
//  records.
//  - another stack at the same addresses (coroutines, sigaltstack, an unmapped stack): the slots are compared
//  again, none is
//    trusted; on any but the thread's own stack one by one from the inside, so that a slot is read only once
//    the frame that it belongs to is proven alive, hence mapped.
//  - longjmp, alloca, swapcontext, a return address that a uretprobe or another tool rewrote: they change sp
//  or a slot.
//  - signal frames: every field of the saved context that the step used is a slot like any other.
//  - a register that a step used where it was not saved yet (rbp in the innermost frames): compared as a
//  register.
#pragma once
#include "preload/contract/table.h"

namespace unfreed::preload {

constexpr int kMaxFrames = 1024;            // a deeper stack is cut, outer side; counted
constexpr int kMaxChecks = 2 * kMaxFrames;  // slots beside return addresses
constexpr uint64_t kInRegister = 0;         // "address" of the rbp register of the hook's caller

struct Frame {
    uint64_t pc;            // return address; with UF_PC_EXACT an interrupted instruction
    uint64_t sp;            // CFA of the frame inside: this frame's sp after its call returned
    uint64_t rbp_location;  // where the value of rbp in this frame is saved, or kInRegister
    uint64_t node_pc;       // pc as the trie has it: with the number of its module
};

inline bool same_state(const Frame& a, const Frame& b) {
    return a.sp == b.sp && a.pc == b.pc && a.rbp_location == b.rbp_location;
}

// A slot (or rbp in its register) that the step from `frame` outwards depended on, beside the return address.
struct Check {
    uint32_t frame;
    uint32_t unused;
    uint64_t address;
    uint64_t value;
};

// Index 0 is the outside of the stack; 1 the outermost frame; count - 1 the innermost. Outermost first, so
// that new inner frames are appended and what stays in place stays.
struct StackRecord {
    int count;  // at least 1
    int checks;
    bool own_stack;  // every slot lies on the thread's own stack, between the sp and its top
    Frame frame[kMaxFrames + 1];
    uint64_t slot[kMaxFrames +
                  1];  // where frame[i].pc was read as a return address; for exact frames, their own copy
    uint64_t value[kMaxFrames + 1];  // what is there
    uint32_t id[kMaxFrames + 1];     // the trie's node of the path from the outside to this frame
    Check check[kMaxChecks];         // by frame, ascending

    void clear() {
        count = 1;
        checks = 0;
        own_stack = true;
    }

    void keep_outer(int frames) {
        count = frames;
        while (checks > 0 && static_cast<int>(check[checks - 1].frame) >= frames) checks--;
    }
};

// The frames of one walk that are not in the thread's record yet, from the inside; see StackRecord for the
// fields. In thread memory: a program's stacks can be small.
struct NewFrames {
    int count;
    int checks;
    bool lost_check;  // more checks than there is room for: the walk must not be remembered
    Frame frame[kMaxFrames];
    uint64_t slot[kMaxFrames];
    uint64_t value[kMaxFrames];
    Check check[kMaxChecks];  // Check::frame: index here
};

inline uint64_t load(uint64_t address) {
    return *reinterpret_cast<const volatile uint64_t*>(address);
}

inline bool check_holds(const Check& check, uint64_t rbp) {
    return (check.address == kInRegister ? rbp : load(check.address)) == check.value;
}

// `top` is a frame whose state has been reached again. Returns the frame from which the recorded steps do not
// hold any more: it and all inside of it are as recorded, the ones outside are unknown; 0: all hold.
inline int still_holds(const StackRecord& record, int top, uint64_t rbp) {
    int check = record.checks - 1;
    while (check >= 0 && static_cast<int>(record.check[check].frame) > top) check--;
    if (!record.own_stack) {
        for (int i = top; i > 1; i--) {
            for (; check >= 0 && static_cast<int>(record.check[check].frame) == i; check--)
                if (!check_holds(record.check[check], rbp)) return i;
            if (load(record.slot[i - 1]) != record.value[i - 1]) return i;
        }
        return 0;
    }
    int i = top;
    while (i > 4) {  // independent loads, four at a time
        uint64_t difference = (load(record.slot[i - 1]) ^ record.value[i - 1]) |
                              (load(record.slot[i - 2]) ^ record.value[i - 2]) |
                              (load(record.slot[i - 3]) ^ record.value[i - 3]) |
                              (load(record.slot[i - 4]) ^ record.value[i - 4]);
        if (__builtin_expect(difference != 0, 0)) break;
        i -= 4;
    }
    while (i > 1 && load(record.slot[i - 1]) == record.value[i - 1]) i--;
    if (i == 1) i = 0;
    for (; check >= 0 && static_cast<int>(record.check[check].frame) > i; check--)
        if (!check_holds(record.check[check], rbp)) i = static_cast<int>(record.check[check].frame);
    return i;
}

}
