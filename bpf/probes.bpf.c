/* The kernel side of the ebpf backend: what runs when a traced process allocates, frees, maps, forks, execs,
 * ends.
 *
 *   inside                      amidst malloc: the block -> walk -> live table; or before it, the size
 *                               (userspace/capture/ebpf/block_sites.h)
 *   allocate                    a session, where there is no such place; entry: the size, return: the block
 *   call_entry, call_return     the same as two probes, where the kernel has no sessions
 *   ask                         entry of a layer on malloc: the size that it was asked for
 *   shape                       entry of what gives a matrix of OpenCV its memory (matrices.h)
 *   release                     the block -> out of the live table
 *   unwind                      exceptions: return addresses put back
 *   sys_enter, sys_exit         mmap, munmap, mremap, brk: rare, so they are sent as events (system_calls.h)
 *   on_fork, on_exec, on_exit   processes (processes.h)
 *
 * A block is counted once: the function that returns it last wins, since it finds the inner one's entry and
 * takes its place (realloc that calls malloc). Wrappers that may return another address than they got
 * (OpenCV, --pair) silence what they call instead. */
#include "bpf/live_table.h"
#include "bpf/matrices.h"
#include "bpf/processes.h"
#include "bpf/sampling.h"
#include "bpf/system_calls.h"

char LICENSE[] SEC("license") = "GPL";

extern bool bpf_session_is_return(void) __ksym __weak;
extern __u64* bpf_session_cookie(void) __ksym __weak;

static __always_inline uint32_t cookie_slot(uint64_t cookie) {
    return cookie & 0xffff;
}
static __always_inline uint32_t cookie_function(uint64_t cookie) {
    return cookie >> 16 & 0xffff;
}
static __always_inline uint32_t cookie_kind(uint64_t cookie) {
    return cookie >> 32 & 0xff;
}

/* --- blocks */

static __always_inline uint64_t estimated_bytes(const struct uf_block* block) {
    return control.sample_bytes ? block->points * control.sample_bytes : block->size;
}
/* In 1024ths when sampling. */
static __always_inline uint64_t estimated_objects(const struct uf_block* block) {
    if (!control.sample_bytes) return 1;
    return block->points * control.sample_bytes * 1024 / (block->size ? block->size : 1);
}

static __always_inline void take_out_of_totals(const struct uf_block* block) {
    uint64_t stack = block->stack;
    struct uf_totals* const counted = bpf_map_lookup_elem(&totals, &stack);
    if (!counted) return;
    __sync_fetch_and_add(&counted->objects, -estimated_objects(block));
    __sync_fetch_and_add(&counted->bytes, -estimated_bytes(block));
}

static __always_inline void record(const struct uf_start* start, uint64_t cookie, uint64_t address,
                                   uint64_t size, uint64_t shape) {
    uint32_t slot_index = cookie_slot(cookie);
    const struct uf_slot* const slot = bpf_map_lookup_elem(&slots, &slot_index);
    if (!slot || !slot->process) return;
    struct uf_block block = {.size = size, .epoch = control.epoch, .points = sample_points(size)};
    const uint64_t key = UF_LIVE_KEY(address, slot->process);
    /* The function that we returned from may have got it from one that is probed too. */
    struct uf_block inner;
    if (take_block(key, &inner)) take_out_of_totals(&inner);
    if (!block.points) return;
    block.stack = stack_of(slot, slot_index, cookie_function(cookie), shape, start, estimated_objects(&block),
                           estimated_bytes(&block));
    if (shape) keep_shape(block.stack, shape);
    put_block(key, &block);
}

/* --- calls */

/* Is this thread inside a wrapping function? One that was left by an exception lies below our frame by now.
 */
static __always_inline int is_silenced(uint32_t slot_index, uint64_t sp) {
    const uint32_t* const wrapping = bpf_map_lookup_elem(&wraps, &slot_index);
    if (!wrapping || !*wrapping) return 0;
    uint64_t thread = bpf_get_current_pid_tgid();
    const uint64_t* const outer = bpf_map_lookup_elem(&wrapped, &thread);
    if (!outer) return 0;
    if (sp < *outer) return 1;
    bpf_map_delete_elem(&wrapped, &thread);
    return 0;
}

static __always_inline uint32_t process_of(uint32_t slot_index) {
    const struct uf_slot* const slot = bpf_map_lookup_elem(&slots, &slot_index);
    return slot ? slot->process : 0;
}

static __always_inline uint64_t block_key(uint32_t slot_index, uint64_t address) {
    return UF_LIVE_KEY(address, process_of(slot_index));
}

/* Key of an open call. By function too: one that jumps to another (pvalloc to memalign) leaves it its sp. */
static __always_inline uint64_t open_call_key(uint64_t cookie, uint64_t sp) {
    return uf_mix(block_key(cookie_slot(cookie), sp), cookie_function(cookie));
}

enum { IGNORE = 1 }; /* session: no return probe for this call */

/* The probe stands where sp is still that of the function's entry. `word` is kept until the return. */
static __always_inline int on_call(struct pt_regs* regs, uint64_t cookie, uint64_t* word) {
    const uint32_t kind = cookie_kind(cookie);
    const uint32_t slot_index = cookie_slot(cookie);
    if (is_silenced(slot_index, regs->sp)) return IGNORE;
    if (cookie & UF_COOKIE_WRAPS) {
        uint64_t thread = bpf_get_current_pid_tgid();
        uint64_t sp = regs->sp;
        bpf_map_update_elem(&wrapped, &thread, &sp, BPF_ANY);
    }
    if (kind == UF_CALL_SIZE) {
        *word = regs->di;
    } else if (kind == UF_CALL_PRODUCT) {
        *word = regs->di * regs->si;
    } else if (kind == UF_CALL_SIZE_SECOND) {
        *word = regs->si;
    } else {
        struct uf_call call = {.process = process_of(slot_index), .old = {.size = UF_NO_BLOCK}};
        call.argument = regs->di;
        call.size = kind == UF_CALL_RESIZE ? regs->si : kind == UF_CALL_OUT ? regs->dx : regs->si * regs->dx;
        const uint64_t old_key = block_key(slot_index, call.argument);
        /* Taken out before the allocator can give the address to another thread; put back when it fails. */
        const int taken = kind != UF_CALL_OUT && call.argument && take_block(old_key, &call.old);
        if (!taken) call.old.size = UF_NO_BLOCK;
        uint64_t key = open_call_key(cookie, regs->sp);
        if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY)) {
            lose(UF_BPF_LOSS_call_full);
            if (taken) put_block(old_key, &call.old);
            return IGNORE;
        }
        *word = 0;
    }
    return 0;
}

/* Called by a function that was asked itself, for another size than it asks for? The last one of this thread
 * counts if we return into it; any other is over (it threw, or did without malloc). `pc`, `cfa`: where the
 * return goes, and the stack pointer then; pc 0: it is on the stack still. */
static __always_inline uint64_t asked_size(uint32_t slot_index, uint64_t pc, uint64_t cfa, uint64_t size,
                                           uint64_t* shape) {
    uint32_t* const count = bpf_map_lookup_elem(&asks, &slot_index);
    if (!count || !*count) return size;
    uint64_t thread = bpf_get_current_pid_tgid();
    const struct uf_asked* const outer = bpf_map_lookup_elem(&asked, &thread);
    if (!outer || cfa > outer->sp) return size;
    if (!pc) pc = original_return_address(cfa - 8);
    if (!pc && bpf_probe_read_user(&pc, sizeof pc, (void*)(cfa - 8))) return size;
    if (pc < outer->begin || pc > outer->end || (!outer->begin && size != outer->size)) return size;
    size = outer->size;
    *shape = outer->shape;
    forget_ask(count);
    return size;
}

static __always_inline void on_return(struct pt_regs* regs, uint64_t cookie, uint64_t word) {
    const uint32_t kind = cookie_kind(cookie);
    const uint32_t slot_index = cookie_slot(cookie);
    uint64_t address = regs->ax;
    uint64_t size = word;
    if (cookie & UF_COOKIE_WRAPS) {
        uint64_t thread = bpf_get_current_pid_tgid();
        bpf_map_delete_elem(&wrapped, &thread);
    }
    if (kind == UF_CALL_RESIZE || kind == UF_CALL_RESIZE_PRODUCT || kind == UF_CALL_OUT) {
        uint64_t key = open_call_key(cookie, regs->sp - 8);
        const struct uf_call* const found = bpf_map_lookup_elem(&calls, &key);
        if (!found) return;
        const struct uf_call call = *found;
        bpf_map_delete_elem(&calls, &key);
        size = call.size;
        if (kind == UF_CALL_OUT) {
            if ((uint32_t)regs->ax) return; /* an error number */
            if (bpf_probe_read_user(&address, sizeof address, (void*)call.argument)) return;
        } else if (!address && call.old.size != UF_NO_BLOCK && (size || !call.argument)) {
            put_block(block_key(slot_index, call.argument), &call.old);
        }
    }
    if (!address) return;
    const struct uf_start start = {{regs->ip, regs->sp, regs->bp}, 0};
    uint64_t shape = 0;
    size = asked_size(slot_index, regs->ip, regs->sp, size, &shape);
    record(&start, cookie, address, size, shape);
}

/* By a copy: the verifier wants to know which one a program reads. But for rbx, glibc's. */
static __always_inline uint64_t register_value(const struct pt_regs* regs, uint64_t word) {
    enum { RBX = 5 };
    uint64_t value = regs->bx;
    if (word == RBX) return value;
    bpf_probe_read_kernel(&value, sizeof value, (const uint64_t*)regs + word);
    return value;
}

/* From the place inside to the caller. */
static __always_inline uint32_t rule_inside(uint64_t cookie) {
    const uint32_t rbp = UF_COOKIE_RBP(cookie);
    const uint32_t kind = rbp ? UF_CFA_RSP | UF_RBP_AT_CFA << 4 : UF_CFA_RSP;
    return UF_COOKIE_CFA(cookie) | (-rbp & 0xff) << 16 | kind << 24;
}

static __always_inline void on_size_known(const struct pt_regs* regs, uint64_t cookie) {
    struct uf_told* const open =
        bpf_task_storage_get(&told, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!open) {
        lose(UF_BPF_LOSS_call_full);
        return;
    }
    open->cfa = regs->sp + UF_COOKIE_CFA(cookie) * 8;
    open->size = register_value(regs, UF_COOKIE_SIZE(cookie));
}

static __always_inline void on_block_known(const struct pt_regs* regs, uint64_t cookie) {
    const uint64_t address = regs->ax;
    if (!address || is_silenced(cookie_slot(cookie), regs->sp)) return;
    const uint64_t cfa = regs->sp + UF_COOKIE_CFA(cookie) * 8;
    uint64_t size;
    if (cookie & UF_COOKIE_SIZE_TOLD) {
        struct uf_told* const open = bpf_task_storage_get(&told, bpf_get_current_task_btf(), 0, 0);
        if (!open || open->cfa != cfa) return; /* it began before we came */
        size = open->size;
        open->cfa = 0;
    } else {
        size = register_value(regs, UF_COOKIE_SIZE(cookie));
    }
    const struct uf_start start = {{regs->ip, regs->sp, regs->bp}, rule_inside(cookie)};
    uint64_t shape = 0;
    size = asked_size(cookie_slot(cookie), 0, cfa, size, &shape);
    record(&start, cookie, address, size, shape);
}

SEC("uprobe")
int inside(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    if (cookie_kind(cookie) == UF_CALL_SIZE_KNOWN)
        on_size_known(regs, cookie);
    else
        on_block_known(regs, cookie);
    return 0;
}

SEC("uprobe")
int allocate(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    uint64_t* const word = (uint64_t*)bpf_session_cookie();
    if (!bpf_session_is_return()) return on_call(regs, cookie, word);
    on_return(regs, cookie, *word);
    return 0;
}

/* Without sessions the word waits in the table of open calls, whose `size` it shares. */
SEC("uprobe")
int call_entry(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    uint64_t word = 0;
    if (on_call(regs, cookie, &word)) return 0;
    if (cookie_kind(cookie) > UF_CALL_SIZE_SECOND) return 0;
    uint64_t key = open_call_key(cookie, regs->sp);
    const struct uf_call call = {
        .size = word, .process = process_of(cookie_slot(cookie)), .old = {.size = UF_NO_BLOCK}};
    if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY)) lose(UF_BPF_LOSS_call_full);
    return 0;
}

SEC("uprobe")
int call_return(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    uint64_t word = 0;
    if (cookie_kind(cookie) <= UF_CALL_SIZE_SECOND) {
        uint64_t key = open_call_key(cookie, regs->sp - 8);
        const struct uf_call* const call = bpf_map_lookup_elem(&calls, &key);
        if (!call) return 0;
        word = call->size;
        bpf_map_delete_elem(&calls, &key);
    }
    on_return(regs, cookie, word);
    return 0;
}

SEC("uprobe")
int ask(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    if ((cookie & UF_COOKIE_ASKS_SAME) && regs->di) {
        uint32_t slot_index = cookie_slot(cookie);
        uint32_t* const count = bpf_map_lookup_elem(&asks, &slot_index);
        if (count && *count) forget_ask(count); /* of an earlier call, that threw */
        return 0;
    }
    const uint64_t code = cookie >> UF_COOKIE_CODE_SHIFT;
    const struct uf_asked now = {regs->di, regs->sp, regs->ip, regs->ip + code,
                                 shape_asked_for(regs->di, regs->sp)};
    ask_for(cookie_slot(cookie), &now);
    return 0;
}

SEC("uprobe")
int shape(struct pt_regs* regs) {
    const uint64_t cookie = bpf_get_attach_cookie(regs);
    if (cookie_kind(cookie) == UF_CALL_SHAPE)
        on_create(regs, cookie_slot(cookie));
    else
        on_create_data(regs, cookie_slot(cookie));
    return 0;
}

SEC("uprobe")
int release(struct pt_regs* regs) {
    const uint64_t address = regs->di;
    if (!address) return 0;
    /* Not there: allocated before we came, or not sampled. */
    drop_block(block_key(cookie_slot(bpf_get_attach_cookie(regs)), address));
    return 0;
}

/* An exception is about to leave through functions whose return addresses are the return probes' trampoline,
 * which no unwinder knows: the program would be terminated. So the addresses are put back first; those
 * returns are not seen. */
struct uf_restore {
    struct return_instance* instance;
    uint64_t slot;     /* of the last one seen, */
    uint64_t original; /* whose chain may go on */
};

static long restore_one(uint32_t index, void* context) {
    struct uf_restore* const restore = context;
    struct return_instance* const instance = restore->instance;
    (void)index;
    const uint64_t slot = instance ? BPF_CORE_READ(instance, stack) : 0;
    if (restore->slot && slot != restore->slot) {
        bpf_probe_write_user((void*)restore->slot, &restore->original, sizeof restore->original);
    }
    if (!instance) return 1;
    restore->slot = slot;
    restore->original = BPF_CORE_READ(instance, orig_ret_vaddr);
    restore->instance = BPF_CORE_READ(instance, next);
    return 0;
}

SEC("uprobe")
int unwind(struct pt_regs* regs) {
    struct task_struct* const task = (struct task_struct*)bpf_get_current_task();
    struct uf_restore restore = {.instance = BPF_CORE_READ(task, utask, return_instances)};
    (void)regs;
    bpf_loop(65, restore_one, &restore, 0);
    uint64_t thread = bpf_get_current_pid_tgid();
    bpf_map_delete_elem(&wrapped, &thread);
    return 0;
}
