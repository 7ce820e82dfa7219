// StackCache: whole stacks that a thread has unwound, each with all the slots that prove it (stack_record.h).
//
// Programs allocate from few places and often from the same stacks again, in turn. At one place (return
// address, sp) the frames outwards nearly always have the same sizes, so the slots of the stack seen there
// last are where the next one's slots are too: one pass over them tells whether it is that same stack, and
// hashes what they hold, and that hash finds any other stack of the place that was seen. A hash only finds;
// what answers is the comparison of every slot.
#pragma once
#include "preload/stack_record.h"

namespace unfreed::preload {

constexpr int kSlotsPerGroup = 4;
constexpr int kMaxGroups = 26;  // stacks with more than 104 slots are walked each time

struct SlotGroup {
    uint16_t offset[kSlotsPerGroup];  // in 8 bytes from sp
    uint64_t value[kSlotsPerGroup];
};

// 17 cache lines: an odd number spreads the entries' first lines over all sets.
struct alignas(64) CachedStack {
    uint64_t call;  // call_of() its place; 0: empty
    uint64_t sp;
    uint64_t rbp;
    uint64_t rbp_used;     // all ones where rbp in its register matters, else 0
    uint32_t leaf;         // the trie's leaf: path and function
    uint16_t group_bytes;  // of `group`, in use
    bool one_by_one;       // not on the thread's own stack: see stack_record.h
    SlotGroup group[kMaxGroups];
};
static_assert(sizeof(CachedStack) == 17 * 64, "an odd number of cache lines");

constexpr uint32_t kCachedStacks = 1024;
constexpr uint32_t kPlaces = 1024;

// What a place had last.
struct LastAt {
    uint32_t offset;  // of the entry in StackCache::entry, in bytes
    // The same stack came again the last time: then it is compared before anything is hashed. Never with
    // one_by_one.
    bool steady;
};

struct StackCache {
    LastAt last_at[kPlaces];
    uint32_t bypass;              // captures to go without the cache
    uint32_t window;              // captures in this window of measurement
    uint32_t hits;                // of those
    uint32_t victim;              // turns, to choose an entry to replace
    uint16_t tag[kCachedStacks];  // a piece of each entry's hash, to look at before the entry; 0: empty
    CachedStack entry[kCachedStacks];
};

struct Place {
    uint64_t pc, sp, rbp;  // return address of the hook, the caller's sp after it returns, the caller's rbp
    uint8_t function;      // uf_function
};

inline const SlotGroup* groups_end(const CachedStack& entry) {
    return reinterpret_cast<const SlotGroup*>(reinterpret_cast<const char*>(entry.group) + entry.group_bytes);
}

// The call alone: where it returns to and what it called.
inline uint64_t call_of(const Place& at) {
    return at.pc | uint64_t{at.function} << 56;
}

// Only then may the entry's slots be read at all.
inline bool is_key(const CachedStack& entry, const Place& at) {
    return ((entry.call ^ call_of(at)) | (entry.sp ^ at.sp)) == 0;
}

inline uint64_t difference_of_group(const SlotGroup& group, const uint64_t* stack) {
    return ((stack[group.offset[0]] ^ group.value[0]) | (stack[group.offset[1]] ^ group.value[1])) |
           ((stack[group.offset[2]] ^ group.value[2]) | (stack[group.offset[3]] ^ group.value[3]));
}

// For an entry that is_key() and not one_by_one. All slots at once: they nearly always hold, so a branch for
// each would only add one to mispredict.
inline bool all_slots_hold(const CachedStack& entry, const Place& at) {
    const auto* stack = reinterpret_cast<const uint64_t*>(at.sp);
    uint64_t difference = (entry.rbp ^ at.rbp) & entry.rbp_used;
    for (const SlotGroup *group = entry.group, *end = groups_end(entry); group != end; group++)
        difference |= difference_of_group(*group, stack);
    return difference == 0;
}

inline bool slots_hold(const CachedStack& entry, const Place& at) {
    if (__builtin_expect(!entry.one_by_one, 1)) return all_slots_hold(entry, at);
    if (((entry.rbp ^ at.rbp) & entry.rbp_used) != 0) return false;
    for (const SlotGroup *group = entry.group, *end = groups_end(entry); group != end; group++)
        for (int slot = 0; slot < kSlotsPerGroup; slot++)
            if (load(at.sp + 8ull * group->offset[slot]) != group->value[slot]) return false;
    return true;
}

// What the slots of the stack seen last at this place hold now: differs from it at all, and a hash of it.
struct Contents {
    bool same;
    uint64_t hash;
};

inline Contents read_contents(const CachedStack& last, const Place& at) {
    const auto* stack = reinterpret_cast<const uint64_t*>(at.sp);
    uint64_t lane[kSlotsPerGroup] = {at.pc, at.sp, at.function, 0};
    uint64_t difference = (last.rbp ^ at.rbp) & last.rbp_used;
    for (const SlotGroup *group = last.group, *end = groups_end(last); group != end; group++) {
        for (int slot = 0; slot < kSlotsPerGroup; slot++) {
            uint64_t held = stack[group->offset[slot]];
            difference |= held ^ group->value[slot];
            lane[slot] = (lane[slot] ^ held) * 0x9e3779b97f4a7c15ull;
        }
    }
    uint64_t hash = (lane[0] ^ (lane[1] >> 29)) * 0xd6e8feb86659fd93ull +
                    (lane[2] ^ (lane[3] >> 31)) * 0xa0761d6478bd642full;
    return Contents{difference == 0, hash ^ (hash >> 32)};
}

inline uint32_t place_of(const Place& at) {
    return static_cast<uint32_t>(((at.pc ^ at.sp << 24) * 0x9e3779b97f4a7c15ull) >> 54);
}
static_assert(kPlaces == 1u << (64 - 54));

inline const CachedStack& entry_at(const StackCache& cache, LastAt last_at) {
    return *reinterpret_cast<const CachedStack*>(reinterpret_cast<const char*>(cache.entry) + last_at.offset);
}

// Where an entry with this hash may be: kSetSize neighbours.
constexpr uint32_t kSetSize = 4;
inline uint32_t set_of(uint64_t hash) {
    return static_cast<uint32_t>(hash) & (kCachedStacks - kSetSize);
}
inline uint16_t tag_of(uint64_t hash) {
    return static_cast<uint16_t>(hash >> 48 | 1);
}

}
