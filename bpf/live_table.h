/* The live blocks: a table of lines that is looked at without a lock, and a hash map behind it for what has
 * no place there.
 *
 * A line is one cache line with places for two blocks; neighbours on the heap have neighbouring lines, so
 * that a program's own locality is ours too (a hash map touches three lines of memory anywhere for each
 * block). Where both places are taken, the block goes into the map `live`, and the line's count in
 * `overflows` says so: with none, nothing need be looked for in the map.
 *
 * Who writes: between an allocation's return and its free a block has one owner, so of one key there is one
 * writer. Two keys may want one place: it is claimed by compare-and-swap, from UF_PLACE_EMPTY to
 * UF_PLACE_BUSY, and given back by another from the key. Stores are seen in order (x86-64): the key comes
 * last. Userspace reads places as they are, and looks twice; it takes out, the same way, the blocks of
 * processes that have ended (userspace/capture/ebpf/kernel_side.cpp). */
#ifndef UNFREED_BPF_LIVE_TABLE_H
#define UNFREED_BPF_LIVE_TABLE_H

#include "bpf/maps.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, UF_BPF_LINES);
    __type(key, uint32_t);
    __type(value, struct uf_line);
} lines SEC(".maps");

/* Of each line: how many blocks that belong there are in `live`. Counted before they are put in, after they
 * are taken out. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, UF_BPF_LINES);
    __type(key, uint32_t);
    __type(value, uint32_t);
} overflows SEC(".maps");

/* Entries are allocated as they come: memory follows the live heap. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1 << 20);
    __type(key, uint64_t);
    __type(value, struct uf_block);
} live SEC(".maps");

static __always_inline struct uf_place* place_of(uint32_t line_index, uint64_t key) {
    struct uf_line* const line = bpf_map_lookup_elem(&lines, &line_index);
    if (!line) return 0;
    if (line->places[0].key == key) return &line->places[0];
    if (line->places[1].key == key) return &line->places[1];
    return 0;
}

static __always_inline uint32_t* overflow_of(uint32_t line_index) {
    return bpf_map_lookup_elem(&overflows, &line_index);
}

/* The block, taken out of the table; 0: it was not there. */
static __always_inline int take_block(uint64_t key, struct uf_block* block) {
    uint32_t line_index = UF_LINE_OF(key);
    struct uf_place* const place = place_of(line_index, key);
    if (place) {
        *block = place->block;
        return __sync_val_compare_and_swap(&place->key, key, UF_PLACE_EMPTY) == key;
    }
    uint32_t* const overflow = overflow_of(line_index);
    if (!overflow || !*(volatile uint32_t*)overflow) return 0;
    const struct uf_block* const found = bpf_map_lookup_elem(&live, &key);
    if (!found) return 0;
    *block = *found;
    if (bpf_map_delete_elem(&live, &key)) return 0;
    __sync_fetch_and_add(overflow, -1);
    return 1;
}

static __always_inline void drop_block(uint64_t key) {
    uint32_t line_index = UF_LINE_OF(key);
    struct uf_place* const place = place_of(line_index, key);
    if (place) {
        __sync_val_compare_and_swap(&place->key, key, UF_PLACE_EMPTY);
        return;
    }
    uint32_t* const overflow = overflow_of(line_index);
    if (!overflow || !*(volatile uint32_t*)overflow) return;
    if (bpf_map_delete_elem(&live, &key) == 0) __sync_fetch_and_add(overflow, -1);
}

static __always_inline int fill_place(struct uf_place* place, uint64_t key, const struct uf_block* block) {
    if (*(volatile uint64_t*)&place->key != UF_PLACE_EMPTY ||
        __sync_val_compare_and_swap(&place->key, UF_PLACE_EMPTY, UF_PLACE_BUSY) != UF_PLACE_EMPTY) {
        return 0;
    }
    place->block = *block;
    asm volatile("" ::: "memory");
    *(volatile uint64_t*)&place->key = key;
    return 1;
}

/* Of a key that is not in the table. */
static __always_inline void put_block(uint64_t key, const struct uf_block* block) {
    uint32_t line_index = UF_LINE_OF(key);
    struct uf_line* const line = bpf_map_lookup_elem(&lines, &line_index);
    if (!line || fill_place(&line->places[0], key, block) || fill_place(&line->places[1], key, block)) return;
    uint32_t* const overflow = overflow_of(line_index);
    if (!overflow) return;
    __sync_fetch_and_add(overflow, 1);
    const long error = bpf_map_update_elem(&live, &key, block, BPF_NOEXIST);
    if (!error) return;
    __sync_fetch_and_add(overflow, -1);
    lose(UF_BPF_LOSS_live_full);
}

#endif
