/* The few kernel types that the programs read, with the few fields that they read: libbpf finds where these
 * really are in the running kernel's BTF (CO-RE), so that the build needs no kernel's headers and no BTF. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1 << 10, BPF_F_INNER_MAP = 1 << 12 };
enum bpf_map_type {
    BPF_MAP_TYPE_HASH = 1,
    BPF_MAP_TYPE_LRU_HASH = 9,
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_PERCPU_ARRAY = 6,
    BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
    BPF_MAP_TYPE_RINGBUF = 27,
    BPF_MAP_TYPE_TASK_STORAGE = 29,
};

/* x86-64, in the order that the kernel's ABI fixes for programs on probes. */
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags,
        sp, ss;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
    int counter;
} atomic_t;

/* A return address that a return probe replaced. */
struct return_instance {
    unsigned long stack; /* address of the slot */
    unsigned long orig_ret_vaddr;
    struct return_instance* next;
};
struct uprobe_task {
    struct return_instance* return_instances;
};
struct signal_struct {
    atomic_t live;
};
struct super_block {
    __u32 s_dev;
};
struct inode {
    unsigned long i_ino;
    struct super_block* i_sb;
};
struct file {
    struct inode* f_inode;
};
struct fdtable {
    struct file** fd;
};
struct files_struct {
    struct fdtable* fdt;
};
struct mm_struct {
    unsigned long start_code, end_code, brk;
    struct file* exe_file;
};
struct ns_common {
    unsigned int inum;
};
struct pid_namespace {
    struct ns_common ns;
};
struct upid {
    int nr;
    struct pid_namespace* ns;
};
struct pid {
    unsigned int level;     /* of its innermost namespace */
    struct upid numbers[1]; /* one for each namespace that it is seen in, the outermost first */
};
struct task_struct {
    struct task_struct* group_leader;
    struct pid* thread_pid;
    struct mm_struct* mm;
    struct files_struct* files;
    int pid;
    int tgid;
    struct signal_struct* signal;
    struct uprobe_task* utask;
};

#pragma clang attribute pop
#endif
