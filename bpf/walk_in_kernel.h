/* The walk of a whole stack, in the kernel: rules by pc from tables that userspace filled, stack slots by a
 * window that is read at once, frames into a scratch of this CPU.
 *
 * Hot: rule_of (a hit in the cache), uf_step. Cold: rule_of_range, original_return_address, copy_stack. */
#ifndef UNFREED_BPF_WALK_IN_KERNEL_H
#define UNFREED_BPF_WALK_IN_KERNEL_H

#include "bpf/maps.h"

/* Functions that are not static are looked at by the verifier once, alone, rather than along every path that
 * calls them: the walk would be too large for it otherwise. */

/* Stack slots: callers' frames lie close together, so a piece read at once costs less than a read for each.
 * Most stacks are small: the first piece is, the next are larger. Where one reaches over the stack's end, it
 * is read up to the end of its page. */
enum { UF_FIRST_WINDOW = 1024, UF_PAGE = 4096 };
static __always_inline void forget_window(struct uf_scratch* scratch) {
    scratch->window_at = UINT64_MAX / 2; /* an address that no stack has */
    scratch->window_last = 0;
}

/* 0: `bytes` from `start` on are the window. */
static __always_inline int fill_window(struct uf_scratch* scratch, uint64_t start, uint64_t bytes) {
    if (bytes > sizeof scratch->window) bytes = sizeof scratch->window;
    if (bpf_probe_read_user(scratch->window, bytes, (void*)start)) return -1;
    scratch->window_at = start;
    scratch->window_last = bytes - 8;
    return 0;
}

int read_stack_word(struct uf_scratch* scratch, uint64_t address, uint64_t* value) {
    if (!scratch || !value) return -1; /* asked for by the verifier, which looks at this function alone */
    uint64_t at = address - scratch->window_at;
    if (at > scratch->window_last) {
        /* Saved registers lie below the return address: the window begins a little below it. */
        at = 64;
        const uint64_t start = address - at;
        const uint64_t bytes = scratch->window_next;
        scratch->window_next = sizeof scratch->window;
        if (fill_window(scratch, start, bytes) &&
            (fill_window(scratch, start, UF_PAGE - (start & (UF_PAGE - 8))) || at > scratch->window_last)) {
            forget_window(scratch);
            return bpf_probe_read_user(value, sizeof *value, (void*)address) ? -1 : 0;
        }
    }
    if (at & 7) return bpf_probe_read_user(value, sizeof *value, (void*)address) ? -1 : 0;
    *value = scratch->window[at / 8 & (UF_WINDOW_WORDS - 1)];
    return 0;
}

static __always_inline int uf_read_word(void* memory, uint64_t address, uint64_t* value) {
    return read_stack_word(memory, address, value);
}

#include "bpf/walk.h"

#define UF_RULE_FOUND (1ull << 32)

/* Binary searches run in bpf_loop: the verifier looks at their bodies once. */
struct uf_search {
    uint64_t pc;
    const struct uf_range* range; /* ranges: found */
    const struct uf_fresh* fresh;
    void* rows;
    uint64_t rule; /* rows: of the last row at or before pc */
    uint32_t low;
    uint32_t high;
};

static long search_range(uint32_t index, void* context) {
    struct uf_search* const search = context;
    (void)index;
    if (search->low >= search->high) return 1;
    uint32_t middle = search->low + (search->high - search->low) / 2;
    const struct uf_range* const range = bpf_map_lookup_elem(&ranges, &middle);
    if (!range) return 1;
    if (search->pc < range->begin) {
        search->high = middle;
    } else if (search->pc >= range->end) {
        search->low = middle + 1;
    } else {
        search->range = range;
        return 1;
    }
    return 0;
}

static long search_row(uint32_t index, void* context) {
    struct uf_search* const search = context;
    (void)index;
    if (search->low >= search->high) return 1;
    uint32_t middle = search->low + (search->high - search->low) / 2;
    const uint64_t* const row = bpf_map_lookup_elem(search->rows, &middle);
    if (!row) return 1;
    if ((*row & UINT32_MAX) <= search->pc) {
        search->rule = *row >> 32 | UF_RULE_FOUND;
        search->low = middle + 1;
    } else {
        search->high = middle;
    }
    return 0;
}

/* Newest first, since a library may lie where another one lay. */
static long search_fresh(uint32_t index, void* context) {
    struct uf_search* const search = context;
    if (search->low + index >= search->high) return 1;
    const struct uf_fresh* const all = search->fresh;
    const struct uf_range* const range = &all->ranges[(search->high - 1 - index) & (UF_BPF_FRESH - 1)];
    if (search->pc < range->begin || search->pc >= range->end) return 0;
    search->range = range;
    return 1;
}

/* The rule at pc, with UF_RULE_FOUND; 0: pc is in no known code. */
uint64_t rule_of_range(uint32_t slot, uint64_t pc) {
    const struct uf_slot* const process = bpf_map_lookup_elem(&slots, &slot);
    const struct uf_code* const code = bpf_map_lookup_elem(&codes, &slot);
    const struct uf_fresh* const all = bpf_map_lookup_elem(&fresh, &slot);
    if (!process || !code || !all) return 0;
    struct uf_search search = {.pc = pc, .fresh = all};
    uint32_t seen = 0;
    if (code->process == process->process) {
        search.low = code->first_range;
        search.high = code->first_range + code->range_count;
        seen = code->fresh_seen;
        bpf_loop(20, search_range, &search, 0);
    }
    if (!search.range && all->process == process->process) {
        search.low = seen;
        search.high = all->count;
        bpf_loop(UF_BPF_FRESH, search_fresh, &search, 0);
    }
    const struct uf_range* const range = search.range;
    if (!range) return 0;
    search.rule = UF_RULE_FOUND; /* before the first row: no row */
    if (!range->rows || pc < range->base) return search.rule;
    uint32_t table = range->table;
    search.rows = bpf_map_lookup_elem(&tables, &table);
    if (!search.rows) return search.rule;
    search.pc = pc - range->base;
    search.low = 0;
    search.high = range->rows;
    bpf_loop(30, search_row, &search, 0);
    return search.rule;
}

/* The cache: one word per entry, rule below and tag above, so that it is read and written whole. Its hash is
 * a bijection of (pc, generation): index and tag are 49 bits of it. */
static __always_inline uint64_t rule_of(struct uf_walk* walk, uint64_t pc) {
    const uint64_t hash = (pc ^ (uint64_t)walk->generation << 47) * 0x9e3779b97f4a7c15ull;
    uint32_t index = hash >> (64 - UF_BPF_RULE_CACHE_BITS);
    const uint64_t tag = (hash >> (32 - UF_BPF_RULE_CACHE_BITS)) & 0xffffffff;
    uint64_t* const entry = bpf_map_lookup_elem(&rule_cache, &index);
    if (!entry) return 0;
    const uint64_t cached = *(volatile uint64_t*)entry;
    if (cached >> 32 == tag) return (cached & 0xffffffff) | UF_RULE_FOUND;
    const uint64_t rule = rule_of_range(walk->slot, pc);
    if (rule & UF_RULE_FOUND) *(volatile uint64_t*)entry = tag << 32 | (rule & 0xffffffff);
    return rule;
}

/* A pending return probe (ours, nested, or another tracer's) has put the trampoline's address into the slot
 * that a return address was read from; the kernel keeps the original. Chained probes of one call hold the
 * trampoline too: the outermost of them, which comes last, has the original. */
struct uf_return_search {
    uint64_t slot;
    uint64_t original; /* 0: none pending there */
    struct return_instance* instance;
};

static long search_return(uint32_t index, void* context) {
    struct uf_return_search* const search = context;
    (void)index;
    struct return_instance* const instance = search->instance;
    if (!instance) return 1;
    if (BPF_CORE_READ(instance, stack) == search->slot) {
        search->original = BPF_CORE_READ(instance, orig_ret_vaddr);
    } else if (search->original) {
        return 1;
    }
    search->instance = BPF_CORE_READ(instance, next);
    return 0;
}

uint64_t original_return_address(uint64_t slot) {
    struct task_struct* const task = (struct task_struct*)bpf_get_current_task();
    struct uf_return_search search = {.slot = slot};
    search.instance = BPF_CORE_READ(task, utask, return_instances);
    bpf_loop(64, search_return, &search, 0);
    return search.original;
}

int step_frame(struct uf_scratch* scratch, struct uf_frame* frame, uint32_t rule) {
    if (!scratch || !frame) return UF_END_LOST;
    const struct uf_rule unpacked = {(int16_t)rule, (int8_t)(rule >> 16), (uint8_t)(rule >> 24)};
    return uf_step(scratch, frame, unpacked);
}

/* The common step, without a call: CFA by rsp or rbp, rbp kept or at the CFA, all that is read within the
 * window. Does what uf_step does, or nothing (0). */
static __always_inline int step_in_window(const struct uf_scratch* scratch, struct uf_frame* frame,
                                          uint32_t rule, uint32_t kind) {
    const uint64_t cfa_offset = (uint64_t)((int64_t)(int16_t)rule * 8);
    uint64_t cfa = kind & 1 ? frame->at.sp : frame->at.bp;
    if (kind != UF_CFA_RSP && kind != (UF_CFA_RSP | UF_RBP_AT_CFA << 4) && kind != UF_CFA_RBP &&
        kind != (UF_CFA_RBP | UF_RBP_AT_CFA << 4)) {
        return 0;
    }
    cfa += cfa_offset;
    const uint64_t at = cfa - 8 - scratch->window_at;
    const uint64_t bp_at = cfa + (uint64_t)((int64_t)(int8_t)(rule >> 16) * 8) - scratch->window_at;
    if (cfa <= frame->at.sp || (at & 7) || at > scratch->window_last || bp_at > scratch->window_last)
        return 0;
    const uint64_t pc = scratch->window[at / 8 & (UF_WINDOW_WORDS - 1)];
    if (!pc) return 0;
    frame->at.pc = pc;
    frame->at.sp = cfa;
    if (kind & UF_RBP_AT_CFA << 4) frame->at.bp = scratch->window[bp_at / 8 & (UF_WINDOW_WORDS - 1)];
    frame->slot = cfa - 8;
    frame->exact = 0;
    return 1;
}

static __always_inline void add_creation(struct uf_scratch* scratch, uint32_t rule) {
    struct uf_walk* const walk = &scratch->walk;
    uint64_t created = 0;
    const uint64_t at = walk->frame.goroutine + (rule & 0xffff) * 8;
    if (!control.go_created_by || !walk->frame.goroutine || !(rule & 0xffff) ||
        walk->count >= UF_BPF_FRAMES || bpf_probe_read_user(&created, sizeof created, (void*)at) ||
        created >> 47) {
        return;
    }
    created |= UF_FRAME_CREATION;
    scratch->event.frames[walk->count & (UF_BPF_FRAMES - 1)] = created;
    walk->count += 1;
    walk->hash = uf_mix(walk->hash, created);
}

static __always_inline int walk_frame(struct uf_scratch* scratch) {
    struct uf_walk* const walk = &scratch->walk;
    if (walk->count >= walk->depth) return 1;
    uint64_t rule = rule_of(walk, uf_lookup_pc(&walk->frame));
    if (!(rule & UF_RULE_FOUND)) {
        const uint64_t original = walk->frame.slot ? original_return_address(walk->frame.slot) : 0;
        if (original) {
            walk->frame.at.pc = original;
            rule = rule_of(walk, original - 1);
        }
        if (!(rule & UF_RULE_FOUND)) {
            walk->end = walk->by_frame_pointer ? UF_END_LOST : UF_END_UNKNOWN_CODE;
            return 1;
        }
    }
    const uint64_t frame = walk->frame.at.pc | (walk->frame.exact ? UF_FRAME_EXACT : 0);
    scratch->event.frames[walk->count & (UF_BPF_FRAMES - 1)] = frame;
    walk->count += 1;
    walk->hash = uf_mix(walk->hash, frame);
    const uint32_t kind = rule >> 24 & 0xff;
    walk->by_frame_pointer = (kind & 0x0f) == UF_CFA_NO_ROW;
    if (step_in_window(scratch, &walk->frame, rule, kind)) return 0;
    walk->end = step_frame(scratch, &walk->frame, rule);
    if (kind == UF_CFA_END) add_creation(scratch, rule);
    return walk->end != UF_END_NONE;
}

/* Some frames in each turn: a call and its return cost as much as a frame, where returns are guarded against
 * speculation. */
enum { UF_FRAMES_A_TURN = 4 };
static long walk_frames(uint32_t index, void* context) {
    struct uf_scratch* const scratch = *(struct uf_scratch**)context;
    (void)index;
    for (int i = 0; i < UF_FRAMES_A_TURN; ++i) {
        if (walk_frame(scratch)) return 1;
    }
    return 0;
}

/* New code that userspace has not told of yet (a library just loaded): the stack goes there as it is. */
static __noinline int send_raw_stack(struct uf_scratch* scratch, struct uf_walk* walk, uint64_t stack) {
    struct uf_raw_stack_event* const raw = bpf_ringbuf_reserve(&stacks_ring, sizeof *raw, 0);
    if (!raw) return -1;
    raw->head.type = UF_EVENT_RAW_STACK;
    raw->head.process = scratch->event.head.process;
    raw->head.stack = stack;
    raw->head.slot = scratch->event.head.slot;
    raw->head.function = scratch->event.head.function;
    raw->head.end = UF_END_UNKNOWN_CODE;
    const uint32_t count = walk->count;
    raw->head.count = count;
    raw->at.pc = walk->frame.at.pc;
    raw->at.sp = walk->frame.at.sp;
    raw->at.bp = walk->frame.at.bp;
    raw->exact = walk->frame.exact;
    for (int i = 0; i < 64; ++i) raw->frames[i] = scratch->event.frames[i];
    uint32_t bytes = 0;
    for (int i = 0; i < UF_BPF_RAW_STACK / 512; ++i) {
        if (bpf_probe_read_user(raw->memory + i * 512, 512, (void*)(walk->frame.at.sp + i * 512))) break;
        bytes += 512;
    }
    raw->bytes = bytes;
    bpf_ringbuf_submit(raw, 0);
    return 0;
}

/* 0: nothing is known of its code, and nothing will be cached. */
static __always_inline uint32_t generation_of(uint32_t slot, uint32_t process) {
    const struct uf_code* const code = bpf_map_lookup_elem(&codes, &slot);
    if (code && code->process == process) return code->generation;
    const struct uf_fresh* const all = bpf_map_lookup_elem(&fresh, &slot);
    return all && all->process == process ? all->generation : 0;
}

/* Where a walk starts. */
struct uf_start {
    struct uf_registers at;
    uint32_t rule; /* how to step to the first frame that counts; 0: it is at.pc's */
};

/* Walks, counts the stack once, and gives its id; the id of the process: no stack could be kept. `shape`: of
 * what the block is for, a part of its stack's id. */
static __always_inline uint64_t stack_of(const struct uf_slot* slot, uint32_t slot_index, uint32_t function,
                                         uint64_t shape, const struct uf_start* start, uint64_t objects,
                                         uint64_t bytes) {
    const uint32_t process = slot->process;
    uint64_t stack = process;
    struct uf_scratch* const scratch = take_scratch();
    if (!scratch) {
        lose(UF_BPF_LOSS_no_scratch);
        add_totals(stack, objects, bytes);
        return stack;
    }
    forget_window(scratch);
    scratch->window_next = UF_FIRST_WINDOW;
    struct uf_walk* const walk = &scratch->walk;
    walk->frame = (struct uf_frame){.at = start->at};
    walk->hash = uf_mix(function ^ shape, process);
    walk->slot = slot_index;
    walk->generation = generation_of(slot_index, process);
    walk->count = 0;
    walk->depth = control.depth < UF_BPF_FRAMES ? control.depth : UF_BPF_FRAMES;
    walk->end = UF_END_NONE;
    walk->by_frame_pointer = 0;
    scratch->event.head.process = process;
    scratch->event.head.slot = slot_index;
    scratch->event.head.function = function;
    if (start->rule && (fill_window(scratch, start->at.sp, UF_FIRST_WINDOW) ||
                        !step_in_window(scratch, &walk->frame, start->rule, start->rule >> 24))) {
        walk->end = step_frame(scratch, &walk->frame, start->rule);
    }
    struct uf_scratch* context = scratch;
    if (walk->end == UF_END_NONE) bpf_loop(UF_BPF_FRAMES / UF_FRAMES_A_TURN, walk_frames, &context, 0);
    if (walk->end == UF_END_NONE) walk->end = UF_END_DEPTH;

    stack = uf_mix(walk->hash, walk->end) | UF_STACK_BIT;
    int kept = 0;
    if (walk->end == UF_END_UNKNOWN_CODE && walk->count <= 64) {
        stack = uf_mix(__sync_fetch_and_add(&control.last_raw_stack, 1) + 1, UF_STACK_BIT) | UF_STACK_BIT;
        kept = send_raw_stack(scratch, walk, stack) == 0 && add_totals(stack, objects, bytes) == 0;
    } else {
        struct uf_totals* const known = bpf_map_lookup_elem(&totals, &stack);
        if (known) {
            __sync_fetch_and_add(&known->objects, objects);
            __sync_fetch_and_add(&known->bytes, bytes);
            kept = 1;
        } else {
            scratch->event.head.type = UF_EVENT_STACK;
            scratch->event.head.stack = stack;
            scratch->event.head.end = walk->end;
            scratch->event.head.count = walk->count;
            const uint32_t size = sizeof scratch->event.head + (walk->count & (2 * UF_BPF_FRAMES - 1)) * 8;
            if (size <= sizeof scratch->event &&
                bpf_ringbuf_output(&stacks_ring, &scratch->event, size, 0) == 0) {
                kept = add_totals(stack, objects, bytes) == 0;
            }
        }
    }
    release_scratch(scratch);
    if (!kept) {
        lose(UF_BPF_LOSS_stack_ring_full);
        stack = process;
        add_totals(stack, objects, bytes);
    }
    return stack;
}

#endif
