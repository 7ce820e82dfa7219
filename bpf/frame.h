/* Where a walk stands: a frame of the traced thread. */
#ifndef UNFREED_BPF_FRAME_H
#define UNFREED_BPF_FRAME_H

#include "bpf/contract/capture.h"

#ifdef __cplusplus
#define UF_INLINE static inline
#else
#define UF_INLINE static __attribute__((always_inline)) inline
#endif

struct uf_frame {
    struct uf_registers at;
    uint64_t slot;      /* address that `pc` was read from; 0: it is a register's value */
    int exact;          /* pc was interrupted: it is no return address */
    uint64_t goroutine; /* record of the last one that the walk came to; 0: none */
};

/* The address whose row counts: a return address may lie behind the end of its function. */
UF_INLINE uint64_t uf_lookup_pc(const struct uf_frame* frame) {
    return frame->exact ? frame->at.pc : frame->at.pc - 1;
}

#endif
