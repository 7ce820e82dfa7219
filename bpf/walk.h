/* One step of the walk from a frame to its caller, by a row of an unwind table, or by the frame pointer where
 * there is none. The same code runs in the kernel, in userspace (on a copied stack) and in the unit tests.
 *
 * The includer gives, before it includes this:
 *   static int uf_read_word(void* memory, uint64_t address, uint64_t* value);   0: read, else it could not be
 */
#ifndef UNFREED_BPF_WALK_H
#define UNFREED_BPF_WALK_H

#include "bpf/frame.h"

UF_INLINE enum uf_end uf_step_by_frame_pointer(void* memory, struct uf_frame* frame) {
    const uint64_t bp = frame->at.bp;
    uint64_t next_bp, next_pc;
    if (bp == 0) return UF_END_REACHED; /* the ABI's mark of the outermost frame */
    if (bp & 7) return UF_END_LOST;
    if (uf_read_word(memory, bp, &next_bp) || uf_read_word(memory, bp + 8, &next_pc)) return UF_END_LOST;
    if (next_pc == 0) return UF_END_REACHED;
    /* Not compared with sp: Go calls C on another stack, and rbp leads back. A circle ends by its depth. */
    frame->at.pc = next_pc;
    frame->at.sp = bp + 16;
    frame->at.bp = next_bp;
    frame->slot = bp + 8;
    frame->exact = 0;
    return UF_END_NONE;
}

UF_INLINE enum uf_end uf_step_over_signal(void* memory, struct uf_frame* frame) {
    const uint64_t context = frame->at.sp;
    uint64_t pc, sp, bp;
    if (uf_read_word(memory, context + UF_SIGFRAME_RIP, &pc) ||
        uf_read_word(memory, context + UF_SIGFRAME_RSP, &sp) ||
        uf_read_word(memory, context + UF_SIGFRAME_RBP, &bp)) {
        return UF_END_UNREADABLE;
    }
    frame->at.pc = pc;
    frame->at.sp = sp;
    frame->at.bp = bp;
    frame->slot = 0;
    frame->exact = 1;
    return UF_END_NONE;
}

/* From C to the goroutine that called it: another stack, at lower addresses as a rule. */
UF_INLINE enum uf_end uf_step_to_goroutine(void* memory, struct uf_frame* frame, struct uf_rule rule) {
    const uint64_t sp = frame->at.sp;
    uint64_t goroutine, depth, stack_end, pc;
    if (uf_read_word(memory, sp + UF_GO_CALL_DEPTH(rule.cfa), &depth) ||
        uf_read_word(memory, sp + (uint64_t)((int64_t)rule.rbp * 8), &goroutine) ||
        uf_read_word(memory, goroutine + UF_GO_CALL_STACK_END(rule.cfa), &stack_end) ||
        uf_read_word(memory, stack_end - depth, &pc)) {
        return UF_END_UNREADABLE;
    }
    if (pc == 0) return UF_END_REACHED;
    frame->goroutine = goroutine;
    frame->at.pc = pc;
    frame->at.sp = stack_end - depth + 8;
    frame->slot = stack_end - depth;
    frame->exact = 0;
    return UF_END_NONE;
}

UF_INLINE enum uf_end uf_step(void* memory, struct uf_frame* frame, struct uf_rule rule) {
    const unsigned cfa_kind = rule.kind & 0x0f;
    const unsigned rbp_kind = rule.kind >> 4;
    const uint64_t cfa_offset = (uint64_t)((int64_t)rule.cfa * 8);
    const uint64_t rbp_offset = (uint64_t)((int64_t)rule.rbp * 8);
    uint64_t cfa, pc, bp = frame->at.bp;

    if (cfa_kind == UF_CFA_RSP) {
        cfa = frame->at.sp + cfa_offset;
    } else if (cfa_kind == UF_CFA_RBP) {
        cfa = frame->at.bp + cfa_offset;
    } else if (cfa_kind == UF_CFA_NO_ROW) {
        return uf_step_by_frame_pointer(memory, frame);
    } else if (cfa_kind == UF_CFA_END) {
        return UF_END_REACHED;
    } else if (cfa_kind == UF_CFA_SIGNAL) {
        return uf_step_over_signal(memory, frame);
    } else if (cfa_kind == UF_CFA_GO_CALL) {
        return uf_step_to_goroutine(memory, frame, rule);
    } else if (cfa_kind == UF_CFA_RBP_DEREF) {
        if (uf_read_word(memory, frame->at.bp + cfa_offset, &cfa)) return UF_END_UNREADABLE;
    } else if (cfa_kind == UF_CFA_RSP_DEREF8) {
        if (uf_read_word(memory, frame->at.sp + cfa_offset, &cfa)) return UF_END_UNREADABLE;
        cfa += 8;
    } else if (cfa_kind == UF_CFA_PLT) {
        cfa = frame->at.sp + 8 + ((frame->at.pc & 15) >= 11 ? 8 : 0);
    } else {
        return UF_END_UNSUPPORTED;
    }
    /* A caller's frame lies above: else rbp was no frame pointer, and the walk would go in circles. */
    if (cfa <= frame->at.sp) return UF_END_LOST;
    if (uf_read_word(memory, cfa - 8, &pc)) return UF_END_UNREADABLE;
    if (rbp_kind == UF_RBP_AT_CFA) {
        if (uf_read_word(memory, cfa + rbp_offset, &bp)) return UF_END_UNREADABLE;
    } else if (rbp_kind == UF_RBP_AT_RBP) {
        if (uf_read_word(memory, frame->at.bp + rbp_offset, &bp)) return UF_END_UNREADABLE;
    } else if (rbp_kind == UF_RBP_LOST) {
        bp = 0;
    }
    if (pc == 0) return UF_END_REACHED;
    frame->at.pc = pc;
    frame->at.sp = cfa;
    frame->at.bp = bp;
    frame->slot = cfa - 8;
    frame->exact = 0;
    return UF_END_NONE;
}

/* Stack ids: any order-dependent mix does; two of a million stacks meet once in 16 million runs. */
UF_INLINE uint64_t uf_mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}
#define UF_STACK_BIT (1ull << 63)

#endif
