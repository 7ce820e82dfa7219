/* One row of an unwind table: from this pc on (until the next row), how to find the caller's frame. What
 * userspace compiles out of .eh_frame (symbolizer/unwind) and what the walk in the kernel reads (bpf/walk.h).
 *
 * x86-64 only: the return address lies at CFA - 8, and the caller's rsp is the CFA. Offsets count 8-byte
 * units. C subset, self-contained: included by C++ and by BPF code. */
#ifndef UNFREED_BPF_CONTRACT_UNWIND_ROW_H
#define UNFREED_BPF_CONTRACT_UNWIND_ROW_H

#include <stdint.h>
#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/* Where the CFA is: low four bits of `kind`. */
enum uf_cfa_kind {
    UF_CFA_NO_ROW = 0,      /* no call frame information here: walk by frame pointer */
    UF_CFA_RSP = 1,         /* rsp + cfa */
    UF_CFA_RBP = 2,         /* rbp + cfa */
    UF_CFA_RBP_DEREF = 3,   /* *(rbp + cfa): a function that realigned its stack */
    UF_CFA_RSP_DEREF8 = 4,  /* *(rsp + cfa) + 8: hand-written code that saved its rsp */
    UF_CFA_PLT = 5,         /* rsp + 8, and 8 more from byte 11 of each 16 on */
    UF_CFA_SIGNAL = 6,      /* the kernel's rt_sigframe: every register lies in it, at rsp + UF_SIGFRAME_x */
    UF_CFA_END = 7,         /* the outermost frame; cfa, if not 0: a goroutine's, see UF_FRAME_CREATION */
    UF_CFA_UNSUPPORTED = 8, /* a rule that a row cannot express */
    UF_CFA_GO_CALL = 9,     /* runtime.asmcgocall: the caller is on its goroutine's stack, see UF_GO_CALL_x */
};

/* UF_CFA_GO_CALL keeps on the thread's stack the goroutine, at rsp + rbp, and how far its stack pointer was
 * from its stack's end, at rsp + the low byte of cfa; the goroutine has the stack's end at the high byte of
 * cfa. All in 8-byte units. The stack may have moved meanwhile; the caller's rbp is the callee's. */
#define UF_GO_CALL_CFA(depth, stack_end) ((int16_t)((depth) | (stack_end) << 8))
#define UF_GO_CALL_DEPTH(cfa) ((uint64_t)((cfa)&0xff) * 8)
#define UF_GO_CALL_STACK_END(cfa) ((uint64_t)((cfa) >> 8 & 0xff) * 8)

/* Where the caller's rbp is: high four bits of `kind`. */
enum uf_rbp_kind {
    UF_RBP_SAME = 0,
    UF_RBP_AT_CFA = 1, /* *(CFA + rbp) */
    UF_RBP_AT_RBP = 2, /* *(rbp + rbp) */
    UF_RBP_LOST = 3,
};

/* struct rt_sigframe as the trampoline sees it: rsp points at its ucontext. */
enum { UF_SIGFRAME_RBP = 120, UF_SIGFRAME_RSP = 160, UF_SIGFRAME_RIP = 168 };

struct uf_rule {
    int16_t cfa;
    int8_t rbp;
    uint8_t kind;
};

struct uf_row {
    uint32_t pc; /* from the table's base */
    struct uf_rule rule;
};

static_assert(sizeof(struct uf_rule) == 4, "a rule is one 32 bit word");
static_assert(sizeof(struct uf_row) == 8, "a row is one 64 bit word: pc below, rule above");

#endif
