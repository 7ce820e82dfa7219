#include "preload/go_stack.h"

#include <cstring>

#include "preload/go_creation.h"
#include "preload/go_table.h"
#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

// Where a stack begins: a goroutine's, a thread's, or the runtime's own work on the thread's stack that no
// goroutine waits for to return (mcall) or asked for by a call (morestack).
constexpr const char* kOutermost[] = {"runtime.mstart", "runtime.rt0_go", "runtime.mcall",
                                      "runtime.morestack", "runtime.sigtramp"};

bool is_one_of(const char* name, const char* const* names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

// Where asmcgocall keeps things, in its frame and in the goroutine's record; as one number for a rule.
struct Kept {
    uint8_t goroutine, depth, stack_end;
    int32_t packed() const { return goroutine | depth << 8 | stack_end << 16; }
    static Kept unpack(int32_t packed) {
        return {static_cast<uint8_t>(packed), static_cast<uint8_t>(packed >> 8),
                static_cast<uint8_t>(packed >> 16)};
    }
};

// What asmcgocall does when C has returned to `pc`: with the frame on a goroutine's stack
//   mov GOROUTINE(%rsp),%rdi ; mov STACK_END(%rdi),%rsi ; sub DEPTH(%rsp),%rsi
// or, when it was on the thread's stack already,
//   mov DEPTH(%rsp),%rsi ; mov %rsi,%rsp
// An offset of 0 has no byte of its own.
bool decode_return(uint64_t pc, Rule* rule) {
    const auto* code = reinterpret_cast<const uint8_t*>(pc);
    const auto load_from_stack = [&](uint8_t opcode, uint8_t with_offset, uint8_t without, uint8_t* offset) {
        if (code[0] != 0x48 || code[1] != opcode || code[3] != 0x24) return false;
        bool has_offset = code[2] == with_offset;
        if (!has_offset && code[2] != without) return false;
        *offset = has_offset ? code[4] : 0;
        code += has_offset ? 5 : 4;
        return *offset < 0x80;
    };
    Kept kept{};
    if (load_from_stack(0x8b, 0x74, 0x34, &kept.depth)) {
        rule->cfa = kCfaGoCallOnSame;
        rule->cfa_offset = kept.packed();
        return code[0] == 0x48 && code[1] == 0x89 && code[2] == 0xf4;
    }
    // Position-independent code fetches the goroutine's place in thread-local storage first: mov $n,%rcx or
    // mov n(%rip),%rcx, 7 bytes.
    if (code[0] == 0x48 && ((code[1] == 0xc7 && code[2] == 0xc1) || (code[1] == 0x8b && code[2] == 0x0d)))
        code += 7;
    if (!load_from_stack(0x8b, 0x7c, 0x3c, &kept.goroutine)) return false;
    if (code[0] != 0x48 || code[1] != 0x8b || code[2] != 0x77 || code[3] >= 0x80) return false;
    kept.stack_end = code[3];
    code += 4;
    if (!load_from_stack(0x2b, 0x74, 0x34, &kept.depth)) return false;
    rule->cfa = kCfaGoCall;
    rule->cfa_offset = kept.packed();
    return true;
}

StepEnd noted(Walk* walk, int index, uint64_t address, uint64_t* value) {
    if (!slot_readable(walk, address)) return StepEnd::kBadMemory;
    *value = load(address);
    return add_check(walk, index, address, *value) ? StepEnd::kStepped : StepEnd::kTooManyChecks;
}

KnownGoStack* place_of(Walk* walk, uint64_t goroutine) {
    return &walk->thread->go_stack[(goroutine >> 7) % kKnownGoStacks];
}

// Its record can be read, since it was.
bool is_known(Walk* walk, uint64_t goroutine) {
    return goroutine != 0 && place_of(walk, goroutine)->goroutine == goroutine;
}

// Lets the walk read the goroutine's stack from `low` to `end`, without asking the kernel when it was read
// before.
bool enter_go_stack(Walk* walk, uint64_t goroutine, uint64_t low, uint64_t end) {
    constexpr uint64_t kPage = 4096, kMostPages = 64;
    KnownGoStack* known = place_of(walk, goroutine);
    low &= ~(kPage - 1);
    if (low >= end || end - low > kMostPages * kPage) return true;  // page by page, as it is walked
    if (known->goroutine != goroutine || known->end != end || known->low > low) {
        for (uint64_t page = low; page < end; page += kPage)
            if (!readable(page)) return false;
        *known = KnownGoStack{goroutine, low, end};
    }
    walk->low = known->low;
    walk->high = end;
    walk->own_stack = false;
    return true;
}

// The goroutine whose stack ends a little above `sp`: its crossing to C is on this walk, and has noted where
// its record says that the stack ends, beside the record's address. 0: there was none.
uint64_t goroutine_at(const NewFrames& frames, uint64_t sp) {
    constexpr uint64_t kNearEnd = 256;  // goexit's frame is the first that newproc lays out
    constexpr uint64_t kStackEndAt = 0x80;
    for (int i = 0; i < frames.checks; i++) {
        const Check& end = frames.check[i];
        if (end.address == kInRegister || end.value - sp > kNearEnd) continue;
        for (int beside = i - 1; beside <= i + 1; beside += 2) {
            if (beside < 0 || beside >= frames.checks) continue;
            const Check& goroutine = frames.check[beside];
            if (goroutine.frame == end.frame && end.address - goroutine.value < kStackEndAt)
                return goroutine.value;
        }
    }
    return 0;
}

// From goexit to the `go` statement that created the goroutine. What is read for it is noted.
StepEnd step_to_creation(Walk* walk, int index, Frame* next, uint64_t* slot) {
    const Frame from = walk->frames->frame[index];
    if (walk->table->header()->go_created_by == 0) return StepEnd::kOutermost;
    uint64_t goroutine = goroutine_at(*walk->frames, from.sp);
    Creation creation = goroutine != 0 ? find_creation(goroutine) : Creation{Creator::kNone, 0};
    if (creation.creator == Creator::kNone) walk->table->lose(UF_LOSS_go_creation_unknown);
    if (creation.creator != Creator::kGoStatement) return StepEnd::kOutermost;
    uint64_t created = load(creation.address);
    if (!add_check(walk, index, creation.address, created)) return StepEnd::kTooManyChecks;
    *next = Frame{UF_PC_CREATION | created, from.sp + 8, from.rbp_location, 0};
    *slot = 0;  // its word is among the checks
    return StepEnd::kStepped;
}

// The caller whose return address is at `at`, the first word above its callee's frame.
StepEnd arrive(Walk* walk, uint64_t at, uint64_t rbp_location, Frame* next, uint64_t* slot) {
    if (!slot_readable(walk, at)) return StepEnd::kBadMemory;
    uint64_t pc = load(at);
    if (pc == 0 || pc >= UF_PC_EXACT) return StepEnd::kBadMemory;
    *next = Frame{pc, at + 8, rbp_location, 0};
    *slot = at;
    return StepEnd::kStepped;
}

}

bool go_rule(uint64_t key, Rule* rule) {
    bool exact = (key & UF_PC_EXACT) != 0;
    uint64_t pc = key & UF_PC_ADDRESS;
    GoFunction function;
    if (!find_go_function(exact ? pc : pc - 1, &function)) return false;
    rule->cfa = kCfaSp;
    rule->cfa_offset = function.frame_bytes + 8;
    rule->rbp = function.frame_bytes > 0 ? kRbpAtCfa : kRbpSame;
    rule->rbp_offset = function.frame_bytes > 0 ? -16 : 0;
    const char* name = function.name;
    if (strcmp(name, "runtime.goexit") == 0) {
        rule->cfa = kCfaGoExit;
    } else if (is_one_of(name, kOutermost, sizeof kOutermost / sizeof kOutermost[0])) {
        rule->cfa = kCfaOutermost;
    } else if (!exact && strcmp(name, "runtime.asmcgocall") == 0) {
        return decode_return(pc, rule);
    } else if (!exact && strcmp(name, "runtime.cgocallback") == 0) {
        rule->cfa = kCfaGoCallback;
    } else if (!exact && strcmp(name, "runtime.systemstack") == 0) {
        rule->cfa = kCfaGoSwitch;
    } else if (function.sets_sp) {  // calls into C, with the stack aligned for it
        if (function.frame_bytes == 0) return false;
        rule->cfa = kCfaRbp;
        rule->cfa_offset = 16;
    }
    return true;
}

StepEnd step_between_stacks(Walk* walk, int index, const KnownRule& rule, Frame* next, uint64_t* slot) {
    const Frame from = walk->frames->frame[index];
    uint64_t rbp = 0;
    StepEnd end = StepEnd::kStepped;
    if (rule.cfa == kCfaGoExit) return step_to_creation(walk, index, next, slot);
    if (rule.cfa == kCfaGoCall || rule.cfa == kCfaGoCallOnSame) {
        Kept kept = Kept::unpack(rule.cfa_offset);
        uint64_t depth = 0, goroutine = 0, stack_end = 0;
        if ((end = noted(walk, index, from.sp + kept.depth, &depth)) != StepEnd::kStepped) return end;
        if (rule.cfa == kCfaGoCallOnSame) return arrive(walk, depth, from.rbp_location, next, slot);
        if ((end = noted(walk, index, from.sp + kept.goroutine, &goroutine)) != StepEnd::kStepped) return end;
        uint64_t at = goroutine + kept.stack_end;
        if (!is_known(walk, goroutine) && !slot_readable(walk, at)) return StepEnd::kBadMemory;
        stack_end = load(at);
        if (!add_check(walk, index, at, stack_end)) return StepEnd::kTooManyChecks;
        if (!enter_go_stack(walk, goroutine, stack_end - depth, stack_end)) return StepEnd::kBadMemory;
        return arrive(walk, stack_end - depth, from.rbp_location, next, slot);
    }
    if ((end = read_rbp(walk, index, &rbp)) != StepEnd::kStepped) return end;
    if ((end = arrive(walk, rbp + 8, rbp, next, slot)) != StepEnd::kStepped) return end;
    if (rule.cfa == kCfaGoSwitch) {
        walk->by_frame_pointer = true;
        return end;
    }
    GoFunction caller;
    if (find_go_function(next->pc - 1, &caller) && strcmp(caller.name, "crosscall2") == 0) return end;
    // Another version's way: Go's own view, without the C code between.
    uint64_t cfa = from.sp + static_cast<uint64_t>(static_cast<int64_t>(rule.cfa_offset));
    return arrive(walk, cfa - 8, cfa - 16, next, slot);
}

}
