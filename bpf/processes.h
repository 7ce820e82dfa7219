/* Processes that fork, exec and end. */
#ifndef UNFREED_BPF_PROCESSES_H
#define UNFREED_BPF_PROCESSES_H

#include "bpf/events.h"

SEC("tp_btf/sched_process_fork")
int on_fork(unsigned long long* context) {
    const struct task_struct* const parent = (const struct task_struct*)context[0];
    const struct task_struct* const child = (const struct task_struct*)context[1];
    if (parent->tgid == child->tgid) return 0; /* a thread */
    uint32_t index = 0;
    const struct uf_slot* const slot = current_slot(&index);
    if (!slot) return 0;
    struct uf_event event = {.pid = process_id(child)};
    send_event(&event, UF_EVENT_FORK, slot, index);
    return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(unsigned long long* context) {
    uint32_t index = 0;
    struct uf_slot* const slot = current_slot(&index);
    (void)context;
    if (!slot) return 0;
    struct uf_event event = {.stack = slot->process};
    slot->process = __sync_fetch_and_add(&control.last_process, 1) + 1;
    struct task_struct* const task = (struct task_struct*)bpf_get_current_task();
    struct mm_struct* const mm = BPF_CORE_READ(task, mm);
    const uint64_t code = BPF_CORE_READ(mm, start_code);
    add_fresh(index, slot->process, BPF_CORE_READ(mm, exe_file), code & ~4095ull, BPF_CORE_READ(mm, end_code),
              code, 0);
    send_event(&event, UF_EVENT_EXEC, slot, index);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(unsigned long long* context) {
    const struct task_struct* const task = (const struct task_struct*)context[0];
    if (task->signal->live.counter) return 0; /* other threads live on */
    uint32_t index = 0;
    const struct uf_slot* const slot = current_slot(&index);
    if (!slot) return 0;
    uint32_t pid = process_id(task);
    bpf_map_delete_elem(&pids, &pid);
    struct uf_event event = {.pid = pid};
    send_event(&event, UF_EVENT_EXIT, slot, index);
    return 0;
}

#endif
