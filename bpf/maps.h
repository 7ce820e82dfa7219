/* Maps of the kernel side, and what every program does with them. Sizes that depend on the machine or on the
 * limits asked for are set by userspace before the programs are loaded
 * (userspace/capture/ebpf/kernel_side.cpp). */
#ifndef UNFREED_BPF_MAPS_H
#define UNFREED_BPF_MAPS_H

#include "bpf/vmlinux.h"
/* vmlinux.h first */
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/frame.h"

enum { UF_WINDOW_WORDS = 512 };

/* Where a walk stands. In a map rather than on the program's stack, whose values the verifier follows one by
 * one: with these it would not come to an end. */
struct uf_walk {
    struct uf_frame frame;
    uint64_t hash;
    uint32_t generation;
    uint32_t slot;
    uint32_t count;
    uint32_t depth;            /* most frames */
    uint32_t end;              /* enum uf_end */
    uint32_t by_frame_pointer; /* the last step */
};

/* What a probe needs beyond BPF's 512 bytes of stack. Owner: the probe that set `taken`, until it clears it.
 */
struct uf_scratch {
    uint64_t taken;
    uint64_t window_at;   /* address of window[0] */
    uint64_t window_last; /* of its words, the last one that was read: bytes from window_at */
    uint64_t window_next; /* bytes that the next window is to have */
    uint64_t window[UF_WINDOW_WORDS];
    struct uf_walk walk;
    struct {
        struct uf_stack_event head;
        uint64_t frames[UF_BPF_FRAMES];
    } event;
};

struct uf_control control;

/* Process id as unfreed sees it -> slot: for the tracepoints; probes have the slot in their cookie. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, uint32_t);
} pids SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, struct uf_slot);
} slots SEC(".maps");

/* By slot: 1 when it has probes with UF_COOKIE_WRAPS. Userspace writes, before it attaches these. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, uint32_t);
} wraps SEC(".maps");

/* By slot: no more of its threads than this have an entry in `asked`. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, uint32_t);
} asks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct uf_told);
} told SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, struct uf_code);
} codes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SLOTS);
    __type(key, uint32_t);
    __type(value, struct uf_fresh);
} fresh SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, UF_BPF_TABLES);
    __type(key, struct uf_file_key);
    __type(value, struct uf_file);
} files SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_RANGES);
    __type(key, uint32_t);
    __type(value, struct uf_range);
} ranges SEC(".maps");

/* Unwind tables by the number of their file; a row is a word (struct uf_row). */
struct uf_rows {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint64_t);
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, UF_BPF_TABLES);
    __type(key, uint32_t);
    __array(values, struct uf_rows);
} tables SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1 << UF_BPF_RULE_CACHE_BITS);
    __type(key, uint32_t);
    __type(value, uint64_t);
} rule_cache SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 19);
    __type(key, uint64_t);
    __type(value, struct uf_totals);
} totals SEC(".maps");

/* Calls that have not returned yet, by stack pointer at entry, process and function (open_call_key). */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 16);
    __type(key, uint64_t);
    __type(value, struct uf_call);
} calls SEC(".maps");

/* Threads inside a function with UF_COOKIE_WRAPS: pid_tgid -> its stack pointer there. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 16);
    __type(key, uint64_t);
    __type(value, uint64_t);
} wrapped SEC(".maps");

/* Threads in a function of kind UF_CALL_ASK, by pid_tgid. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 16);
    __type(key, uint64_t);
    __type(value, struct uf_asked);
} asked SEC(".maps");

/* Threads that give a matrix its memory, by pid_tgid; the last one of each. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, uint64_t);
    __type(value, struct uf_creating);
} creating SEC(".maps");

/* What blocks are for, by their stack. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 16);
    __type(key, uint64_t);
    __type(value, struct uf_shape);
} shapes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, UF_BPF_SCRATCH_PER_CPU);
    __type(key, uint32_t);
    __type(value, struct uf_scratch);
} scratches SEC(".maps");

/* Sampling: bytes to the next sample point, per CPU. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint64_t);
} sample_left SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 32 << 20);
} stacks_ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4 << 20);
} events_ring SEC(".maps");

static __always_inline void lose(enum uf_bpf_loss cause) {
    __sync_fetch_and_add(&control.losses[cause], 1);
}

/* A probe does not leave its CPU, but on a preemptible kernel another task's probe can come in between: each
 * takes one of a few places. */
static __always_inline struct uf_scratch* take_scratch(void) {
    const uint32_t first = bpf_get_smp_processor_id() * UF_BPF_SCRATCH_PER_CPU;
    for (uint32_t i = 0; i < UF_BPF_SCRATCH_PER_CPU; ++i) {
        uint32_t index = first + i;
        struct uf_scratch* const scratch = bpf_map_lookup_elem(&scratches, &index);
        if (!scratch) return 0;
        if (!__sync_lock_test_and_set(&scratch->taken, 1)) return scratch;
    }
    return 0;
}

static __always_inline void release_scratch(struct uf_scratch* scratch) {
    *(volatile uint64_t*)&scratch->taken = 0;
}

/* The thread's next request is for what `request` says, and not for what malloc will be asked. */
static __always_inline void ask_for(uint32_t slot_index, const struct uf_asked* request) {
    uint64_t thread = bpf_get_current_pid_tgid();
    struct uf_asked* const open = bpf_map_lookup_elem(&asked, &thread);
    uint32_t* const count = bpf_map_lookup_elem(&asks, &slot_index);
    if (open) {
        *open = *request;
    } else if (count && !bpf_map_update_elem(&asked, &thread, request, BPF_ANY)) {
        __sync_fetch_and_add(count, 1);
    }
}

/* `count`: of the thread's slot, in `asks`. */
static __always_inline void forget_ask(uint32_t* count) {
    uint64_t thread = bpf_get_current_pid_tgid();
    if (!bpf_map_delete_elem(&asked, &thread)) __sync_fetch_and_add(count, -1);
}

static __always_inline int add_totals(uint64_t stack, uint64_t objects, uint64_t bytes) {
    for (int i = 0; i < 2; ++i) {
        struct uf_totals* const known = bpf_map_lookup_elem(&totals, &stack);
        if (known) {
            __sync_fetch_and_add(&known->objects, objects);
            __sync_fetch_and_add(&known->bytes, bytes);
            return 0;
        }
        const struct uf_totals first = {objects, bytes};
        if (bpf_map_update_elem(&totals, &stack, &first, BPF_NOEXIST) == 0) return 0;
        /* Another CPU was faster (look again), or it is full. */
    }
    lose(UF_BPF_LOSS_totals_full);
    return -1;
}

#endif
