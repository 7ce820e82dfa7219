// The table: what the shim writes and the collector reads, one sparse memory file per traced process image.
//
// Threat model. The file belongs to the collector; the traced program can scribble over all of it at any
// moment. So the reader checks every index, length and offset before use and copies before it checks. The
// shim trusts nothing that the reader wrote but `epoch` and `recording`, whose every value is harmless.
//
// Who writes: the shim alone, but for `epoch` and `recording` (the collector alone). Who reads: both.
// The file outlives the process, so its state at the process's very end is what the last reader sees.
#pragma once
#ifndef __cplusplus
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#else
#include <cstddef>
#include <cstdint>
#endif

#define UF_TABLE_MAGIC 0x3165656572666e75ull  // "unfree" + version letter, little endian
#define UF_TABLE_VERSION 1u

enum uf_function {
    UF_FUNCTION_NONE,
#define UF_ALLOCATES(identifier, symbol, domain) UF_FUNCTION_##identifier,
#define UF_FREES(identifier, symbol, domain) UF_FUNCTION_##identifier,
#include "preload/contract/functions.def"
#undef UF_ALLOCATES
#undef UF_FREES
    UF_FUNCTION_COUNT
};

enum uf_loss {
#define UF_LOSS(identifier, text) UF_LOSS_##identifier,
#include "preload/contract/losses.def"
#undef UF_LOSS
    UF_LOSS_COUNT
};

// --- Header, at offset 0
// --------------------------------------------------------------------------------------
typedef struct uf_header {
    uint64_t magic;         // UF_TABLE_MAGIC, set by the collector
    uint32_t version;       // UF_TABLE_VERSION, set by the collector
    uint32_t cell_shift;    // log2 of the bytes of address space per cell: 5 with glibc's malloc, else 3. Set
                            // by the collector from the hello
    uint64_t sample_bytes;  // mean bytes between samples; 0: every allocation. Set by the collector
    uint32_t recording;     // collector: 1 from the start, 0 when it wants no more (--duration)
    uint32_t
        epoch;  // collector: coarse time, at most UF_EPOCH_MAX; see userspace/capture/preload/epoch_clock.h
    uint32_t node_count;     // shim: nodes handed out, node 0 (the root) included; never above UF_NODES
    uint32_t module_count;   // shim: modules whose record is complete (release; the reader acquires)
    uint32_t string_bytes;   // shim: bytes used of the string area
    uint32_t region_count;   // shim: region slots ever used; slots beyond are zero
    uint32_t chunk_count;    // shim: chunks handed out, chunk 0 (none) included
    uint32_t counter_slots;  // shim: counter arrays ever used
    uint32_t go_created_by;  // 1: a goroutine's stack goes on to where it was created. Set by the collector
    uint32_t unused;
    uint64_t loss[UF_LOSS_COUNT];
} uf_header;

// --- Programs that were started and cannot load the shim: the names of the first few, for the report
// ------------- A slot that does not begin with 0 holds the end of a path, with a 0 at its end. Filled in any
// order by whoever starts a program; the reader takes nothing for granted of them.
#define UF_PROGRAMS_OFFSET 2048ull
#define UF_PROGRAMS 16u
#define UF_PROGRAM_BYTES 64u

// --- Call paths: a trie that only grows
// ------------------------------------------------------------------------- A node is one frame of a path;
// its caller is the next frame outwards; node 0 is the root, outside every path. pc < UF_FUNCTION_COUNT: the
// leaf, and pc is the uf_function that the program called. Every recorded stack id is such a leaf; its caller
// is the innermost frame of the program. Else pc is a return address (the call is just before it), or, with
// UF_PC_EXACT, the address of an interrupted instruction (the frame that a signal interrupted), with 1 + the
// index of its module in the bits from UF_PC_MODULE_SHIFT (0: no module, or one that the table has no room
// for). A writer fills pc and caller before it publishes the node's index (release); ids in cells come later
// still.
typedef struct uf_node {
    uint64_t pc;
    uint32_t caller;
    uint32_t first_child;  // the shim's own index over the trie; the reader has no use for these three
    uint32_t next_sibling;
    uint32_t children;
} uf_node;
#define UF_NODES (1u << 24)
#define UF_PC_MODULE_SHIFT 48
#define UF_PC_EXACT (1ull << 47)
#define UF_PC_ADDRESS (UF_PC_EXACT - 1)
// Outside of a goroutine's outermost frame there can be one more node, where it was created: UF_PC_CREATION |
// the address that the go statement's call returns to, in a module that has frames of its own.
#define UF_PC_CREATION (0xfffdull << UF_PC_MODULE_SHIFT)
// Inside of a leaf there can be nodes that say what the block is for, a cv::Mat: one for each of its
// dimensions, the outermost first, then one for its type; the last is the stack id then. No module has so
// high a number.
#define UF_PC_EXTENT (0xfffeull << UF_PC_MODULE_SHIFT)  // | elements
#define UF_PC_TYPE (0xffffull << UF_PC_MODULE_SHIFT)    // | dimensions << 16 | OpenCV's type
#define UF_DIMENSIONS_MAX 32u                           // CV_MAX_DIM

// --- Allocations ever, per stack
// --------------------------------------------------------------------------------- One array of UF_NODES
// counters for each of UF_COUNTER_SLOTS slots; a thread owns a slot while it lives and is the only one who
// adds to it (plain stores); threads beyond the slots share the last one and add atomically. The reader sums.
// With sampling, both are estimates of the whole: objects in 1/UF_OBJECT_UNIT, bytes as they are.
typedef struct uf_counter {
    uint64_t objects;
    uint64_t bytes;
} uf_counter;
#define UF_COUNTER_SLOTS 64u
#define UF_OBJECT_UNIT 1024u  // when sample_bytes != 0; else objects are whole

// --- Live blocks: a shadow of the address space
// -------------------------------------------------------------------- The directory has an entry for every
// 512 KiB of the 47-bit address space: the number of its chunk, or 0. (Smaller parts would make the directory
// large, larger ones the pause in which a chunk's pages come.) A chunk has one cell for each 1 << cell_shift
// bytes; a cell describes the block that starts in its window (two can not: glibc's blocks start
// 32 bytes apart at least). A cell of 0 is no block. Fields from the low bit:
//   stack 24 | start 2 | epoch 14 | size 24
// start: the block starts at window + 8 * start. size UF_SIZE_ESCAPE: the whole next cell is the size, as
// (size << 1 | 1), written before this cell and cleared after it; such a block is longer than a window, so
// nobody else starts there. Writers: between malloc's return and free's entry a block has one owner, so each
// cell has one writer at a time, and a cell is stored whole. The reader reads cell, size, cell again and
// starts over when they differ.
#define UF_ADDRESS_BITS 47
#define UF_DIRECTORY_SHIFT 19
#define UF_DIRECTORY_ENTRIES (1u << (UF_ADDRESS_BITS - UF_DIRECTORY_SHIFT))
#define UF_CHUNKS (1u << 20)
#define UF_CHUNK_BYTES(cell_shift) (8ull << (UF_DIRECTORY_SHIFT - (cell_shift)))
#define UF_STACK_BITS 24
#define UF_START_BITS 2
#define UF_EPOCH_BITS 14
#define UF_SIZE_BITS 24
#define UF_EPOCH_MAX ((1u << UF_EPOCH_BITS) - 1)
#define UF_SIZE_ESCAPE ((1u << UF_SIZE_BITS) - 1)

// --- Mappings (domain mmap)
// ----------------------------------------------------------------------------------------- A slot with
// length 0 is free. One writer at a time (the shim's lock). A change that touches two slots writes the new
// one before it shortens the old one: where a kill left two that overlap, the one that starts later owns the
// overlap. A mapping that was cut lies in several slots of one `block`, and counts as one block as long as
// any of them is left.
typedef struct uf_region {
    uint64_t start;
    uint64_t length;  // bytes of pages; written last when a slot is filled, first when it is freed (release)
    uint32_t stack;
    uint32_t epoch;
    uint32_t
        block;  // the same for the parts of one mapping, of no two mappings until it wraps; 0: of no other
    uint32_t slack;  // of `length`, the bytes at the end that nobody asked for: less than a page
} uf_region;
#define UF_REGIONS (1u << 17)
#define UF_EPOCH_RESERVED \
    UINT32_MAX  // the epoch of a slot that only reserves addresses (PROT_NONE): not counted

// --- Modules: files mapped as code, in the order in which the shim met them on stacks
// ---------------------------------
typedef struct uf_module {
    uint64_t start;  // first mapped address of the file
    uint64_t end;    // one past the last
    uint64_t bias;   // what the loader added to the addresses in the file (l_addr)
    uint32_t path;   // offset of the path in the string area, with its length: not terminated
    uint32_t path_bytes;
    uint8_t build_id[32];
    uint32_t build_id_bytes;  // 0: none
    uint32_t unused;
} uf_module;
#define UF_MODULES (1u << 15)
#define UF_STRING_BYTES (1u << 24)

// --- Where everything is in the file (bytes)
// -----------------------------------------------------------------------------
#define UF_HEADER_OFFSET 0ull
#define UF_MODULES_OFFSET (1ull << 16)
#define UF_STRINGS_OFFSET (UF_MODULES_OFFSET + UF_MODULES * sizeof(uf_module))
#define UF_REGIONS_OFFSET (UF_STRINGS_OFFSET + UF_STRING_BYTES)
#define UF_DIRECTORY_OFFSET (1ull << 30)
#define UF_NODES_OFFSET (2ull << 30)
#define UF_NODE_INDEX_OFFSET \
    (5ull << 29)  // uint32_t[UF_NODE_INDEX]: the shim's hash over wide nodes' children
#define UF_NODE_INDEX (1u << 25)
#define UF_SAMPLED_OFFSET \
    (3ull << 30)  // uint8_t[UF_SAMPLED_PARTS]: the shim's note, when it samples, of where it has a block
                  // (live.h)
#define UF_SAMPLED_PARTS (1u << 28)
#define UF_COUNTERS_OFFSET (1ull << 32)
#define UF_CHUNKS_OFFSET (UF_COUNTERS_OFFSET + (uint64_t)UF_COUNTER_SLOTS * UF_NODES * sizeof(uf_counter))
#define UF_TABLE_BYTES (UF_CHUNKS_OFFSET + (uint64_t)UF_CHUNKS * UF_CHUNK_BYTES(3))

static_assert(sizeof(uf_header) == 64 + 8 * UF_LOSS_COUNT && sizeof(uf_header) <= UF_PROGRAMS_OFFSET,
              "header");
static_assert(UF_PROGRAMS_OFFSET + UF_PROGRAMS * UF_PROGRAM_BYTES <= 4096, "programs");
static_assert(sizeof(uf_node) == 24 && sizeof(uf_counter) == 16 && sizeof(uf_region) == 32, "records");
static_assert(sizeof(uf_module) == 72 && offsetof(uf_module, build_id) == 32, "module");
static_assert(UF_REGIONS_OFFSET + UF_REGIONS * sizeof(uf_region) <= UF_DIRECTORY_OFFSET, "regions fit");
static_assert(UF_DIRECTORY_OFFSET + (uint64_t)UF_DIRECTORY_ENTRIES * 4 <= UF_NODES_OFFSET, "directory fits");
static_assert(UF_NODES_OFFSET + (uint64_t)UF_NODES * sizeof(uf_node) <= UF_NODE_INDEX_OFFSET, "nodes fit");
static_assert(UF_NODE_INDEX_OFFSET + (uint64_t)UF_NODE_INDEX * 4 <= UF_SAMPLED_OFFSET, "index fits");
static_assert(UF_SAMPLED_OFFSET + (uint64_t)UF_SAMPLED_PARTS <= UF_COUNTERS_OFFSET, "sampled parts fit");
static_assert(UF_STACK_BITS + UF_START_BITS + UF_EPOCH_BITS + UF_SIZE_BITS == 64, "a cell is 64 bits");
