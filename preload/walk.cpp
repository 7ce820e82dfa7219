#include "preload/walk.h"

#include "preload/full_walk.h"
#include "preload/go_stack.h"
#include "preload/modules.h"
#include "preload/system_call.h"

extern "C" void* __libc_stack_end;  // ld.so: the highest address of the initial stack that a frame can have

namespace unfreed::preload {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMaxOwnStack = 1ull << 30;

}

bool slot_readable(Walk* walk, uint64_t address) {
    if (__builtin_expect(address >= walk->low && address + 8 <= walk->high, 1)) return true;
    if ((address & 7) != 0 || address < kPage || address >> UF_ADDRESS_BITS != 0 || !readable(address))
        return false;
    // Off the thread's own stack: page by page from here on, which joins up while the pages are neighbours.
    uint64_t page = address & ~(kPage - 1);
    if (walk->own_stack || (page != walk->high && page + kPage != walk->low)) {
        walk->low = page;
        walk->high = page + kPage;
    } else {
        walk->low = page < walk->low ? page : walk->low;
        walk->high = page + kPage > walk->high ? page + kPage : walk->high;
    }
    walk->own_stack = false;
    return true;
}

__attribute__((noinline)) void learn_rule(Table* table, uint64_t key, KnownRule* known) {
    if (key >= UF_PC_CREATION) {
        *known = KnownRule{key, 0, 0, kCfaOutermost, kRbpSame, key};
        return;
    }
    uint64_t address = key & UF_PC_ADDRESS;
    uint64_t lookup = (key & UF_PC_EXACT) ? address : address - 1;
    CodeObject object{};
    uint32_t module = 0;
    bool found = find_module(table, lookup, &object, &module);
    Rule rule = make_rule(found ? &object : nullptr, lookup);
    Rule in_go = rule;
    if (found && rule.cfa == kCfaNoCfi && go_rule(key, &in_go)) rule = in_go;
    known->key = rule.cfa == kCfaNoCfi ? 0 : key;
    known->cfa_offset = rule.cfa_offset;
    known->rbp_offset = rule.rbp_offset;
    known->cfa = rule.cfa;
    known->rbp = rule.rbp;
    known->node_pc = key | static_cast<uint64_t>(module) << UF_PC_MODULE_SHIFT;
}

bool add_check(Walk* walk, int index, uint64_t address, uint64_t value) {
    NewFrames* frames = walk->frames;
    if (frames->checks >= kMaxChecks) return false;
    frames->check[frames->checks++] = Check{static_cast<uint32_t>(index), 0, address, value};
    return true;
}

StepEnd read_rbp(Walk* walk, int index, uint64_t* rbp) {
    uint64_t location = walk->frames->frame[index].rbp_location;
    if (location == kInRegister) {
        *rbp = walk->rbp;
    } else {
        if (!slot_readable(walk, location)) return StepEnd::kBadMemory;
        *rbp = load(location);
    }
    return add_check(walk, index, location, *rbp) ? StepEnd::kStepped : StepEnd::kTooManyChecks;
}

namespace {

struct FullStep {
    Walk* walk;
    int index;
    bool overflow;
};

bool full_readable(void* context, uint64_t address) {
    return slot_readable(static_cast<FullStep*>(context)->walk, address);
}

void full_slot_read(void* context, uint64_t address, uint64_t value) {
    auto* full = static_cast<FullStep*>(context);
    if (!add_check(full->walk, full->index, address, value)) full->overflow = true;
}

StepEnd end_of(Step outcome) {
    switch (outcome) {
        case Step::kStepped:
            return StepEnd::kStepped;
        case Step::kOutermost:
            return StepEnd::kOutermost;
        case Step::kNoCfi:
            return StepEnd::kNoRule;
        case Step::kBadMemory:
            return StepEnd::kBadMemory;
        case Step::kUnknownRegister:
            break;
    }
    return StepEnd::kNeedsRegisters;
}

// A signal frame (needs sp alone), or an odd frame that sp and rbp are enough for.
__attribute__((noinline)) StepEnd step_fully(Walk* walk, int index, Frame* next, uint64_t* slot) {
    const Frame& from = walk->frames->frame[index];
    Registers registers{};
    registers.r[kReturnAddress] = from.pc & UF_PC_ADDRESS;
    registers.r[kRspRegister] = from.sp;
    registers.r[kRbpRegister] = walk->rbp;
    registers.location[kRbpRegister] = from.rbp_location;
    registers.known = 1u << kReturnAddress | 1u << kRspRegister | 1u << kRbpRegister;
    registers.live = registers.known & ~(from.rbp_location != kInRegister ? 1u << kRbpRegister : 0u);
    registers.exact = (from.pc & UF_PC_EXACT) != 0;
    CodeObject object{};
    uint32_t module;
    uint64_t lookup = registers.r[kReturnAddress] - (registers.exact ? 0 : 1);
    if (!find_module(walk->table, lookup, &object, &module)) return StepEnd::kNoRule;
    FullStep full{walk, index, false};
    StackMemory memory{walk->low, walk->high, full_readable, full_slot_read, &full};
    StepEnd end = end_of(full_step(registers, &object, memory));
    if (full.overflow) return StepEnd::kTooManyChecks;
    if (end != StepEnd::kStepped) return end;
    if ((registers.live_used & 1u << kRbpRegister) && !add_check(walk, index, kInRegister, walk->rbp))
        return StepEnd::kTooManyChecks;
    bool rbp_live = (registers.live & 1u << kRbpRegister) != 0;
    if (!rbp_live && registers.location[kRbpRegister] == 0) return StepEnd::kNeedsRegisters;
    // The trampoline that a handler returns to was never called: its own address names it, not the byte
    // before.
    if (registers.exact) walk->frames->frame[index].node_pc |= UF_PC_EXACT;
    next->pc = registers.r[kReturnAddress] | (registers.exact ? UF_PC_EXACT : 0);
    next->sp = registers.r[kRspRegister];
    next->rbp_location = rbp_live ? kInRegister : registers.location[kRbpRegister];
    *slot = 0;
    return StepEnd::kStepped;
}

// Code without unwind information (JIT) that keeps a frame pointer.
__attribute__((noinline)) StepEnd step_by_frame_pointer(Walk* walk, int index, Frame* next, uint64_t* slot) {
    const Frame& from = walk->frames->frame[index];
    // The program's very first code (ld.so's _dl_start_user) has none: nothing is outside of the initial sp.
    if (from.sp == reinterpret_cast<uint64_t>(__libc_stack_end)) return StepEnd::kOutermost;
    uint64_t rbp;
    StepEnd end = read_rbp(walk, index, &rbp);
    if (end != StepEnd::kStepped) return end;
    if ((rbp & 7) != 0 || rbp < from.sp || rbp - from.sp > kMaxFrameBytes || !slot_readable(walk, rbp) ||
        !slot_readable(walk, rbp + 8))
        return StepEnd::kNoRule;
    uint64_t pc = load(rbp + 8);
    if (pc < kPage || pc >= UF_PC_EXACT) return StepEnd::kNoRule;
    walk->by_frame_pointer = true;
    next->pc = pc;
    next->sp = rbp + 16;
    next->rbp_location = rbp;
    *slot = rbp + 8;
    return StepEnd::kStepped;
}

}

void find_stack(Walk* walk, uint64_t sp) {
    Thread* thread = walk->thread;
    if (__builtin_expect(sp < thread->stack_low || sp >= thread->stack_top, 0)) {
        // The highest address that can be on this thread's own stack: its thread block, which glibc puts
        // there, or for the first thread the end that the kernel gave. It is the own stack if every page up
        // to there is readable.
        auto block = reinterpret_cast<uint64_t>(__builtin_thread_pointer());
        auto stack_end = reinterpret_cast<uint64_t>(__libc_stack_end);
        uint64_t top = sp < block && block - sp < kMaxOwnStack           ? block
                       : sp < stack_end && stack_end - sp < kMaxOwnStack ? stack_end
                                                                         : 0;
        uint64_t known = top == thread->stack_top && sp < thread->stack_low ? thread->stack_low : top;
        for (uint64_t page = sp & ~(kPage - 1); top != 0 && page < known; page += kPage)
            if (!readable(page)) top = 0;
        if (top == 0) {
            walk->low = walk->high = 0;
            walk->own_stack = false;
            return;
        }
        thread->stack_low = sp & ~(kPage - 1);
        thread->stack_top = top;
    }
    walk->low = thread->stack_low;
    walk->high = thread->stack_top;
    walk->own_stack = true;
}

StepEnd step(Walk* walk, int index, const KnownRule& rule, Frame* next, uint64_t* slot) {
    const Frame& from = walk->frames->frame[index];
    uint64_t cfa = 0;
    uint64_t rbp = 0;
    if (rule.cfa == kCfaSp) {
        cfa = from.sp + static_cast<uint64_t>(static_cast<int64_t>(rule.cfa_offset));
        if (rule.rbp == kRbpAtRbp) {
            StepEnd end = read_rbp(walk, index, &rbp);
            if (end != StepEnd::kStepped) return end;
        }
    } else if (rule.cfa == kCfaOutermost) {
        return StepEnd::kOutermost;
    } else if (rule.cfa == kCfaFull) {
        return step_fully(walk, index, next, slot);
    } else if (rule.cfa == kCfaNoCfi) {
        return step_by_frame_pointer(walk, index, next, slot);
    } else if (rule.cfa >= kCfaGoCall) {
        return step_between_stacks(walk, index, rule, next, slot);
    } else {
        StepEnd end = read_rbp(walk, index, &rbp);
        if (end != StepEnd::kStepped) return end;
        cfa = rbp + static_cast<uint64_t>(static_cast<int64_t>(rule.cfa_offset));
        if (rule.cfa == kCfaDerefRbp) {
            uint64_t at = cfa;
            if (!slot_readable(walk, at)) return StepEnd::kBadMemory;
            cfa = load(at);
            if (!add_check(walk, index, at, cfa)) return StepEnd::kTooManyChecks;
        }
    }
    if (cfa <= from.sp || cfa - from.sp > kMaxFrameBytes || !slot_readable(walk, cfa - 8))
        return StepEnd::kBadMemory;
    uint64_t pc = load(cfa - 8);
    if (pc == 0) return StepEnd::kOutermost;
    if (pc >= UF_PC_EXACT) return StepEnd::kBadMemory;
    next->pc = pc;
    next->sp = cfa;
    next->rbp_location = rule.rbp == kRbpSame ? from.rbp_location
                         : rule.rbp == kRbpAtCfa
                             ? cfa + static_cast<uint64_t>(static_cast<int64_t>(rule.rbp_offset))
                             : rbp + static_cast<uint64_t>(static_cast<int64_t>(rule.rbp_offset));
    *slot = cfa - 8;
    return StepEnd::kStepped;
}

__attribute__((noinline)) StepEnd walk_all(Walk* walk, const Place& at) {
    Registers registers{};
    asm volatile(
        "lea 0(%%rip), %%rax\n\tmovq %%rax, 128(%0)\n\tmovq %%rbx, 24(%0)\n\tmovq %%rbp, 48(%0)\n\t"
        "movq %%rsp, 56(%0)\n\tmovq %%r12, 96(%0)\n\tmovq %%r13, 104(%0)\n\tmovq %%r14, 112(%0)\n\tmovq "
        "%%r15, 120(%0)"
        :
        : "r"(registers.r)
        : "rax", "memory");
    registers.known = registers.live =
        1u << kRbx | 1u << kRbpRegister | 1u << kRspRegister | 0xfu << kR12 | 1u << kReturnAddress;
    registers.exact = true;
    find_stack(walk, registers.r[kRspRegister]);
    NewFrames* frames = walk->frames;
    frames->count = frames->checks = 0;
    FullStep full{walk, 0, false};
    bool inside = true;  // still in the shim's own frames
    for (;;) {
        uint64_t key = registers.r[kReturnAddress] | (registers.exact ? UF_PC_EXACT : 0);
        if (inside && registers.r[kReturnAddress] == at.pc && registers.r[kRspRegister] == at.sp)
            inside = false;
        if (inside && registers.r[kRspRegister] > at.sp) return StepEnd::kBadMemory;
        CodeObject object{};
        uint32_t module = 0;
        bool found = find_module(walk->table, registers.r[kReturnAddress] - (registers.exact ? 0 : 1),
                                 &object, &module);
        if (!inside) {
            if (frames->count == kMaxFrames) return StepEnd::kTooManyChecks;
            frames->frame[frames->count++] = Frame{key, registers.r[kRspRegister], 0,
                                                   key | static_cast<uint64_t>(module) << UF_PC_MODULE_SHIFT};
        }
        StackMemory memory{walk->low, walk->high, full_readable, nullptr, &full};
        if (found) {
            Step outcome = full_step(registers, &object, memory);
            if (outcome != Step::kStepped) return end_of(outcome);
            if (!inside && registers.exact) frames->frame[frames->count - 1].node_pc |= UF_PC_EXACT;
        } else {
            if (!frame_pointer_step(registers, memory)) return StepEnd::kNoRule;
            walk->by_frame_pointer = true;
        }
        if (registers.r[kReturnAddress] == 0) return StepEnd::kOutermost;
        if (registers.r[kReturnAddress] >= UF_PC_EXACT) return StepEnd::kBadMemory;
    }
}

}
