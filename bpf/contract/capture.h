/* What the kernel side of the ebpf backend (bpf/probes.bpf.c) and userspace/capture/ebpf share: map values,
 * events, probe cookies.
 *
 * C subset, self-contained. Addresses are of the traced process; a "process" here is one image of a process
 * (from fork or exec to exec or end) under a small id of its own, so that a PID that is used again is another
 * one. */
#ifndef UNFREED_BPF_CONTRACT_CAPTURE_H
#define UNFREED_BPF_CONTRACT_CAPTURE_H

#include "bpf/contract/unwind_row.h"

enum {
    UF_BPF_FRAMES = 512,    /* most frames of one stack; a power of two */
    UF_BPF_SLOTS = 4096,    /* processes traced at one time */
    UF_BPF_RANGES = 262144, /* mapped stretches of code, all processes */
    UF_BPF_TABLES = 16384,  /* unwind tables, one per file */
    UF_BPF_RULE_CACHE_BITS = 17,
    UF_BPF_RAW_STACK = 8192,    /* bytes copied of a stack that meets code not known yet */
    UF_BPF_SCRATCH_PER_CPU = 4, /* probes that can interrupt each other on one CPU */
    UF_BPF_PROCESS_BITS = 17,   /* ids wrap beyond: see uf_live_key */
};

/* --- probe cookies: what a probe is, given with each attachment */

/* How a function takes its size and gives its block. */
enum uf_call_kind {
    UF_CALL_SIZE = 0,           /* block = f(size) */
    UF_CALL_PRODUCT = 1,        /* block = f(count, size) */
    UF_CALL_SIZE_SECOND = 2,    /* block = f(alignment, size) */
    UF_CALL_RESIZE = 3,         /* block = f(block, size) */
    UF_CALL_RESIZE_PRODUCT = 4, /* block = f(block, count, size) */
    UF_CALL_OUT = 5,            /* error = f(&block, alignment, size) */
    UF_CALL_FREE = 6,           /* f(block) */
    UF_CALL_UNWIND = 7,         /* f(): about to walk the stack for an exception */
    UF_CALL_ASK = 8,            /* f(size), which asks malloc for that or more, and may throw */
    UF_CALL_SHAPE = 9,          /* f(matrix, dimensions, extents, type): preload/contract/mats.def */
    UF_CALL_SHAPE_OF = 10,      /* f(record of a matrix) */
    /* Not at an entry, but inside of block = f(size), see UF_COOKIE_INSIDE: */
    UF_CALL_SIZE_KNOWN = 11,  /* a register holds the size */
    UF_CALL_BLOCK_KNOWN = 12, /* rax holds the block */
};
/* Cookie: slot in bits 0..15, function index in 16..31, call kind in 32..39, UF_COOKIE_x above. */
#define UF_COOKIE(slot, function, kind) \
    ((uint64_t)(slot) | (uint64_t)(function) << 16 | (uint64_t)(kind) << 32)
/* In a stack event's function: no function of the list, but a system call. */
enum { UF_FUNCTION_BRK = 0xfffd, UF_FUNCTION_MREMAP = 0xfffe, UF_FUNCTION_MMAP = 0xffff };
/* The function may call recorded ones inside: what they do is not counted (OpenCV's allocator, --pair). */
#define UF_COOKIE_WRAPS (1ull << 40)
/* UF_CALL_ASK: of malloc it asks for just as many bytes, but for one when it is asked for none. */
#define UF_COOKIE_ASKS_SAME (1ull << 41)
/* UF_CALL_ASK: bytes of code from the probe to the function's end. */
#define UF_COOKIE_CODE_SHIFT 42
/* UF_CALL_x_KNOWN. How many words the CFA is above rsp (8 bits); how many words below the CFA the caller's
 * rbp is, 0: in rbp (4 bits); the register that holds the size, by its place in struct pt_regs (5 bits);
 * UF_COOKIE_SIZE_TOLD: none does, but UF_CALL_SIZE_KNOWN was passed before. */
#define UF_COOKIE_INSIDE(cfa, rbp, size) \
    ((uint64_t)(cfa) << 42 | (uint64_t)(rbp) << 50 | (uint64_t)(size) << 54)
#define UF_COOKIE_CFA(cookie) ((cookie) >> 42 & 0xff)
#define UF_COOKIE_RBP(cookie) ((cookie) >> 50 & 0xf)
#define UF_COOKIE_SIZE(cookie) ((cookie) >> 54 & 0x1f)
#define UF_COOKIE_SIZE_TOLD (1ull << 59)
enum { UF_INSIDE_RBP_WORDS = 15 }; /* at most so far below the CFA */

/* --- map values */

/* One traced process. Userspace writes it once; on exec the kernel gives it the id of a new image. */
struct uf_slot {
    uint32_t process; /* id of the image; 0: nothing is recorded */
    uint32_t pid;
    uint64_t program_break; /* where the process's last call of brk found it; the kernel alone writes */
};

/* The code of a slot's process. Userspace alone writes; it counts while `process` is the slot's. */
struct uf_code {
    uint32_t process;
    uint32_t generation;  /* unique over all processes: rules cached under older ones do not match */
    uint32_t first_range; /* ranges[first_range, first_range + range_count), ascending */
    uint32_t range_count;
    uint32_t unused;
    uint32_t fresh_seen; /* fresh ranges before this one are among the ranges */
};

/* A mapped stretch of code. */
struct uf_range {
    uint64_t begin;
    uint64_t end;
    uint64_t base; /* address that the table's rows count from */
    uint32_t table;
    uint32_t rows; /* 0: none, walk by frame pointer */
};

/* A file that has a table, by (inode, device): so that the kernel can tell by itself what a process that has
 * just exec'ed, or loaded a library, runs, before userspace has heard of it. Of several
 * code segments it is the lowest. */
struct uf_file_key {
    uint64_t inode;
    uint64_t device; /* as the kernel has it: major << 20 | minor */
};
struct uf_file {
    uint64_t offset;     /* of the code segment in the file */
    uint64_t address;    /* of the code segment in the file's symbol table */
    uint64_t table_base; /* in the file's symbol table */
    uint32_t table;
    uint32_t rows;
};

/* Code mapped since userspace looked last: a ring, the kernel alone writes. */
enum { UF_BPF_FRESH = 64 };
struct uf_fresh {
    uint32_t process;
    uint32_t generation;
    uint32_t count; /* ever, in this process; the last one is ranges[(count - 1) % UF_BPF_FRESH] */
    uint32_t unused;
    struct uf_range ranges[UF_BPF_FRESH];
};

/* Key of a live block: canonical user addresses have 47 bits. */
#define UF_LIVE_KEY(address, process) ((uint64_t)(address) ^ (uint64_t)(process) << 47)
#define UF_KEY_PROCESS(key) ((uint32_t)((key) >> 47)) /* as many bits of the process as a key has */

struct uf_block {
    uint64_t size;
    uint64_t stack;  /* uf_stack_event.stack, or the process id: no stack known */
    uint32_t epoch;  /* seconds since tracing began */
    uint32_t points; /* sampling: how many sample points fell into it; 1 without */
};

/* The table of live blocks (bpf/live_table.h): a line of the cache, with places for two. */
enum { UF_BPF_LINES = 1 << 20 };                /* a power of two */
enum { UF_PLACE_EMPTY = 0, UF_PLACE_BUSY = 1 }; /* keys that no block has; busy: `block` is being written */
struct uf_place {
    uint64_t key;
    struct uf_block block;
};
struct uf_line {
    struct uf_place places[2];
};
/* A block's line. 32 bytes of heap, glibc's smallest chunk, have one; each 16 MB (and each process) are
 * shifted by another distance, so that arenas, which begin at round addresses, do not fall on each other. */
#define UF_LINE_OF(key) \
    ((uint32_t)(((key) >> 5) + ((((key) >> 24) * 0x9e3779b97f4a7c15ull) >> 32)) & (UF_BPF_LINES - 1))

/* Per stack: what was ever allocated (sampling: estimates). */
struct uf_totals {
    uint64_t objects;
    uint64_t bytes;
};

/* An open call of a function whose arguments do not fit into a word. */
struct uf_call {
    uint64_t argument; /* where the block is to be stored; or the old block */
    uint64_t size;
    uint64_t process;
    struct uf_block old; /* the old block, taken out of the live table; size UF_NO_BLOCK: it was not there */
};
#define UF_NO_BLOCK UINT64_MAX

/* A thread has passed UF_CALL_SIZE_KNOWN. */
struct uf_told {
    uint64_t cfa; /* of the call; 0: none is open */
    uint64_t size;
};

/* A thread is in a function of kind UF_CALL_ASK: the next malloc that its code [begin, end) calls is for
 * `size`. */
struct uf_asked {
    uint64_t size;
    uint64_t sp;
    uint64_t begin; /* 0: any code, but for just this size */
    uint64_t end;
    uint64_t shape; /* uf_creating.hash of what the block is for; 0: not known */
};

/* What a block is for: a matrix of OpenCV. */
enum { UF_BPF_DIMENSIONS = 32 }; /* CV_MAX_DIM */
struct uf_shape {
    uint64_t caller; /* where the function returns to that gave the matrix its memory */
    uint32_t type;   /* OpenCV's: depth and channels */
    uint32_t dimensions;
    int32_t extents[UF_BPF_DIMENSIONS]; /* rows first */
};

/* A thread gives a matrix its memory. */
struct uf_creating {
    uint64_t hash; /* of the shape, never 0 */
    uint64_t bytes;
    uint64_t sp;
    struct uf_shape shape;
};

/* --- events */

enum uf_event_type {
    UF_EVENT_STACK = 1,     /* stacks ring: a stack seen for the first time */
    UF_EVENT_RAW_STACK = 2, /* stacks ring: a stack that met unknown code, to be walked by userspace */
    UF_EVENT_MAP = 3,       /* events ring, from here on */
    UF_EVENT_UNMAP = 4,
    UF_EVENT_REMAP = 5,
    UF_EVENT_CODE = 6, /* executable mappings have changed */
    UF_EVENT_FORK = 7,
    UF_EVENT_EXEC = 8,
    UF_EVENT_EXIT = 9,
    UF_EVENT_PROTECT = 10,
    UF_EVENT_MOVE = 11,  /* mremap is about to take it away, */
    UF_EVENT_STAYS = 12, /* but failed. Else: UF_EVENT_REMAP */
};

/* Why a walk ended. */
enum uf_end {
    UF_END_NONE = 0,         /* it goes on */
    UF_END_REACHED = 1,      /* the outermost frame */
    UF_END_DEPTH = 2,        /* as deep as asked for */
    UF_END_UNREADABLE = 3,   /* a stack slot could not be read */
    UF_END_LOST = 4,         /* no call frame information, and the frame pointer leads nowhere */
    UF_END_UNSUPPORTED = 5,  /* call frame information that a row cannot express */
    UF_END_UNKNOWN_CODE = 6, /* code that userspace has not told of yet */
};

#define UF_FRAME_EXACT (1ull << 63) /* in a frame: the address was interrupted, it is no return address */
/* A goroutine's last frame: what its record has at 8 * cfa of the outermost frame's rule, where its `go`
 * statement's call returns to as far as userspace can prove that. */
#define UF_FRAME_CREATION (1ull << 62)

struct uf_stack_event {
    uint32_t type;
    uint32_t process;
    uint64_t stack; /* id: a hash with the top bit set */
    uint16_t slot;
    uint16_t function;
    uint16_t end; /* enum uf_end */
    uint16_t count;
    /* then uint64_t frames[count], leaf first: frames[0] is where the allocation function returns to */
};

struct uf_registers {
    uint64_t pc;
    uint64_t sp;
    uint64_t bp;
};

/* As a uf_stack_event with `count` frames, then: */
struct uf_raw_stack_event {
    struct uf_stack_event head;
    struct uf_registers at; /* where the walk stands */
    uint32_t exact;         /* at.pc was interrupted */
    uint32_t bytes;         /* copied from at.sp on */
    uint64_t frames[64];    /* more frames than that: not walked on */
    uint8_t memory[UF_BPF_RAW_STACK];
};

struct uf_event {
    uint32_t type;
    uint32_t process;
    uint32_t slot;
    uint32_t pid;     /* fork: the child's; else of the process */
    uint64_t address; /* map, unmap, move; remap: the new one */
    uint64_t length;
    uint64_t thread; /* move, stays, remap: whose call it is */
    uint64_t stack;  /* map, remap; exec: the old image's process id */
    uint32_t epoch;
    uint32_t flags; /* map, protect: the protection; code: uf_fresh.count */
};

enum uf_bpf_loss {
#define UF_BPF_LOSS(identifier, text) UF_BPF_LOSS_##identifier,
#include "bpf/contract/losses.def"
#undef UF_BPF_LOSS
    UF_BPF_LOSS_COUNT
};

/* The part of the program's memory that both sides see. */
struct uf_control {
    /* userspace */
    uint32_t epoch;           /* seconds since tracing began */
    uint32_t depth;           /* frames kept, at most UF_BPF_FRAMES */
    uint64_t sample_bytes;    /* 0: every allocation */
    uint32_t go_created_by;   /* 1: with UF_FRAME_CREATION */
    uint32_t pid_namespace;   /* inode of the one that unfreed runs in, whose process ids it knows */
    uint32_t last_process;    /* the id given last; both sides, atomically */
    uint32_t last_generation; /* so too */
    /* kernel */
    uint64_t last_raw_stack;
    uint64_t losses[UF_BPF_LOSS_COUNT];
};

static_assert(sizeof(struct uf_slot) == 16, "slot");
static_assert(sizeof(struct uf_code) == 24, "code");
static_assert(sizeof(struct uf_range) == 32, "range");
static_assert(sizeof(struct uf_block) == 24, "block");
static_assert(sizeof(struct uf_line) == 64, "line");
static_assert(sizeof(struct uf_call) == 48, "call");
static_assert(sizeof(struct uf_shape) == 144, "shape");
static_assert(sizeof(struct uf_stack_event) == 24, "stack event");
static_assert(sizeof(struct uf_event) == 56, "event");

#endif
