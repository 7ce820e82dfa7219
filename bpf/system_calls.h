/* Memory maps: mmap, munmap, mremap, mprotect, brk. The tracepoints see the system calls of all processes, so
 * the number is looked at first. */
#ifndef UNFREED_BPF_SYSTEM_CALLS_H
#define UNFREED_BPF_SYSTEM_CALLS_H

#include "bpf/events.h"
#include "bpf/walk_in_kernel.h"

enum { SYS_MMAP = 9, SYS_MPROTECT = 10, SYS_MUNMAP = 11, SYS_BRK = 12, SYS_MREMAP = 25 };
enum { UF_PROT_EXEC = 4, UF_MREMAP_DONTUNMAP = 4 };

static __always_inline struct file* mapped_file(uint32_t descriptor) {
    struct task_struct* const task = (struct task_struct*)bpf_get_current_task();
    struct file** const all = BPF_CORE_READ(task, files, fdt, fd);
    struct file* file = 0;
    bpf_probe_read_kernel(&file, sizeof file, &all[descriptor]);
    return file;
}

SEC("tp_btf/sys_enter")
int sys_enter(unsigned long long* context) {
    const struct pt_regs* const regs = (const struct pt_regs*)context[0];
    const long number = context[1];
    /* What takes a mapping away, before it happens: once it has, another thread may map the same place, and
     * be heard first. */
    if (number != SYS_MUNMAP && number != SYS_BRK && number != SYS_MREMAP) return 0;
    uint32_t index = 0;
    struct uf_slot* const slot = current_slot(&index);
    if (!slot || !slot->process) return 0;
    if (number == SYS_BRK) {
        struct task_struct* const task = (struct task_struct*)bpf_get_current_task();
        slot->program_break = BPF_CORE_READ(task, mm, brk);
        return 0;
    }
    struct uf_event event = {.address = regs->di, .length = regs->si, .thread = bpf_get_current_pid_tgid()};
    if ((event.address & 4095) || !event.length) return 0; /* refused; of mremap's, 0 bytes are a copy */
    if (number == SYS_MUNMAP)
        send_event(&event, UF_EVENT_UNMAP, slot, index);
    else if (!(regs->r10 & UF_MREMAP_DONTUNMAP))
        send_event(&event, UF_EVENT_MOVE, slot, index);
    return 0;
}

/* A break that grows is one more mapping, one that shrinks takes from the end. Threads that call brk at once
 * need a lock of their own anyway: it tells them where the break is, not what each of them got. */
static __always_inline void on_break(const struct pt_regs* regs, uint64_t now, const struct uf_slot* slot,
                                     uint32_t index) {
    const uint64_t before = slot->program_break;
    if (!before || now != regs->di || now == before) return; /* a question, or refused */
    if (now < before) {
        struct uf_event shrunk = {.address = now, .length = before - now};
        send_event(&shrunk, UF_EVENT_UNMAP, slot, index);
        return;
    }
    enum { READABLE_AND_WRITABLE = 3 };
    struct uf_event grown = {.address = before, .length = now - before, .flags = READABLE_AND_WRITABLE};
    const struct uf_start at = {{regs->ip, regs->sp, regs->bp}, 0};
    grown.stack = stack_of(slot, index, UF_FUNCTION_BRK, 0, &at, 0, 0);
    send_event(&grown, UF_EVENT_MAP, slot, index);
}

SEC("tp_btf/sys_exit")
int sys_exit(unsigned long long* context) {
    const struct pt_regs* const regs = (const struct pt_regs*)context[0];
    const uint64_t result = context[1];
    const long number = regs->orig_ax;
    if (number != SYS_MMAP && number != SYS_MREMAP && number != SYS_MPROTECT && number != SYS_BRK) return 0;
    const int failed = result > -4096ull;
    if (failed && number != SYS_MREMAP) return 0;
    uint32_t index = 0;
    const struct uf_slot* const slot = current_slot(&index);
    if (!slot || !slot->process) return 0;
    if (failed) {
        struct uf_event stays = {.thread = bpf_get_current_pid_tgid()};
        send_event(&stays, UF_EVENT_STAYS, slot, index);
        return 0;
    }
    if (number == SYS_BRK) {
        on_break(regs, result, slot, index);
        return 0;
    }
    struct uf_event event = {.address = result};
    if (number != SYS_MREMAP && (regs->dx & UF_PROT_EXEC)) {
        enum { MAP_ANONYMOUS = 0x20 };
        if (number == SYS_MMAP && !(regs->r10 & MAP_ANONYMOUS)) {
            event.flags = add_fresh(index, slot->process, mapped_file(regs->r8), result, result + regs->si,
                                    result - regs->r9, 1);
        }
        send_event(&event, UF_EVENT_CODE, slot, index);
    }
    if (number == SYS_MPROTECT) {
        event.address = regs->di;
        event.length = regs->si;
        event.flags = regs->dx;
        send_event(&event, UF_EVENT_PROTECT, slot, index);
        return 0;
    }
    const struct uf_start at = {{regs->ip, regs->sp, regs->bp}, 0};
    event.stack =
        stack_of(slot, index, number == SYS_MMAP ? UF_FUNCTION_MMAP : UF_FUNCTION_MREMAP, 0, &at, 0, 0);
    if (number == SYS_MMAP) {
        event.length = regs->si;
        event.flags = regs->dx;
        send_event(&event, UF_EVENT_MAP, slot, index);
    } else {
        event.thread = bpf_get_current_pid_tgid();
        event.length = regs->dx;
        send_event(&event, UF_EVENT_REMAP, slot, index);
    }
    return 0;
}

#endif
