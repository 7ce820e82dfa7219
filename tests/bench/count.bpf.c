/* Counts, and nothing else: what is left is what the traps cost. */
#include "bpf/vmlinux.h"
/* vmlinux.h first */
#include <bpf/bpf_helpers.h>

#include "bpf/contract/capture.h"

char LICENSE[] SEC("license") = "GPL";

extern bool bpf_session_is_return(void) __ksym __weak;

__u64 allocations;
__u64 frees;

SEC("uprobe")
int count_allocation(struct pt_regs* regs) {
    (void)regs;
    if (!bpf_session_is_return()) __sync_fetch_and_add(&allocations, 1);
    return 0;
}

/* Inside of malloc: userspace/capture/ebpf/block_sites.h. */
SEC("uprobe")
int count_inside(struct pt_regs* regs) {
    if ((bpf_get_attach_cookie(regs) >> 32 & 0xff) == UF_CALL_BLOCK_KNOWN)
        __sync_fetch_and_add(&allocations, 1);
    return 0;
}

SEC("uprobe")
int count_free(struct pt_regs* regs) {
    (void)regs;
    __sync_fetch_and_add(&frees, 1);
    return 0;
}
