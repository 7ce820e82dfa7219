/* What the tracepoints have in common: which traced process this is, and how userspace hears of it. */
#ifndef UNFREED_BPF_EVENTS_H
#define UNFREED_BPF_EVENTS_H

#include "bpf/maps.h"

/* The id of the task's process in the PID namespace that unfreed runs in, a container's perhaps. 0: it is not
 * seen from there. */
static __always_inline uint32_t process_id(const struct task_struct* task) {
    enum { DEEPEST = 32 };
    const struct pid* const pid = BPF_CORE_READ(task, group_leader, thread_pid);
    const uint32_t level = BPF_CORE_READ(pid, level);
    const char* number = (const char*)pid + bpf_core_field_offset(struct pid, numbers);
    for (uint32_t i = 0; i <= DEEPEST && i <= level; ++i) {
        const struct upid* const upid = (const struct upid*)number;
        if (BPF_CORE_READ(upid, ns, ns.inum) == control.pid_namespace) return BPF_CORE_READ(upid, nr);
        number += bpf_core_type_size(struct upid);
    }
    return 0;
}

static __always_inline struct uf_slot* current_slot(uint32_t* index) {
    uint32_t pid = process_id((const struct task_struct*)bpf_get_current_task());
    const uint32_t* const found = bpf_map_lookup_elem(&pids, &pid);
    if (!found) return 0;
    *index = *found;
    return bpf_map_lookup_elem(&slots, index);
}

static __always_inline void send_event(struct uf_event* event, uint32_t type, const struct uf_slot* slot,
                                       uint32_t index) {
    event->type = type;
    event->process = slot->process;
    event->slot = index;
    event->epoch = control.epoch;
    if (!event->pid) event->pid = slot->pid;
    if (bpf_ringbuf_output(&events_ring, event, sizeof *event, 0)) lose(UF_BPF_LOSS_event_ring_full);
}

/* Code of `file` has just been mapped at [begin, end). `place`: where its code segment begins; `by_offset`:
 * where the file's first byte would lie. Gives how many fresh ranges there are. */
static __always_inline uint32_t add_fresh(uint32_t slot_index, uint32_t process, struct file* file,
                                          uint64_t begin, uint64_t end, uint64_t place, int by_offset) {
    struct uf_fresh* const all = bpf_map_lookup_elem(&fresh, &slot_index);
    if (!all) return 0;
    if (all->process != process) {
        all->process = process;
        all->count = 0;
        all->generation = __sync_fetch_and_add(&control.last_generation, 1) + 1;
    }
    struct uf_file_key key = {};
    key.inode = BPF_CORE_READ(file, f_inode, i_ino);
    key.device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
    const struct uf_file* const known = bpf_map_lookup_elem(&files, &key);
    if (!known || (by_offset && begin - place != (known->offset & ~4095ull))) return all->count;
    struct uf_range* const range = &all->ranges[all->count & (UF_BPF_FRESH - 1)];
    range->begin = begin;
    range->end = end;
    range->base = place + (by_offset ? known->offset : 0) - known->address + known->table_base;
    range->table = known->table;
    range->rows = known->rows;
    return __sync_fetch_and_add(&all->count, 1) + 1;
}

#endif
