#include "preload/capture.h"

#include "preload/walk.h"

namespace unfreed::preload {
namespace {

constexpr uint32_t kWindow = 2048;           // captures between two looks at the cache's worth
constexpr uint64_t kWorthwhilePercent = 60;  // hits; below, the cache costs more than it saves
constexpr uint32_t kBypass = 16384;          // captures to go without it then

constexpr uint64_t kOtherStack = 1ull << 30;  // a caller so far away from its callee is on another stack

// Most nodes have one child, and it lies beside its caller: a look at it costs less than the thread's memo,
// which finds the others of those that are hot.
inline NodeId known_child(Thread* thread, Table* table, NodeId caller, uint64_t pc) {
    const uf_node* nodes = table->nodes();
    NodeId first = __atomic_load_n(&nodes[caller].first_child, __ATOMIC_ACQUIRE);
    if (first != 0 && nodes[first].pc == pc) return first;
    KnownChild* known = &thread->child[mix(pc, caller) & (kKnownChildren - 1)];
    if (__builtin_expect(known->pc == pc && known->caller == caller, 1)) return known->id;
    NodeId id = child_of(table, caller, pc);
    if (id != 0) *known = KnownChild{pc, caller, id};
    return id;
}

void count_cut(Walk* walk, StepEnd end) {
    switch (end) {
        case StepEnd::kStepped:
        case StepEnd::kOutermost:
            break;
        case StepEnd::kNoRule:
            walk->table->lose(UF_LOSS_stack_no_rule);
            break;
        case StepEnd::kTooManyChecks:
            walk->table->lose(UF_LOSS_stack_too_deep);
            break;
        case StepEnd::kBadMemory:
        case StepEnd::kNeedsRegisters:
            walk->table->lose(UF_LOSS_stack_bad_memory);
            break;
    }
    if (walk->by_frame_pointer) walk->table->lose(UF_LOSS_stack_by_frame_pointer);
}

// The recorded frames from `top` out to, not including, `from` hold: takes them over into the walk's own.
void take_over(NewFrames* frames, const StackRecord& record, int top, int from, uint64_t slot_of_top) {
    int check = record.checks - 1;
    for (int i = top; i > from; i--) {
        int at = frames->count++;
        frames->frame[at] = record.frame[i];
        frames->slot[at] = i == top ? slot_of_top : record.slot[i];
        frames->value[at] = record.frame[i].pc;
        while (check >= 0 && static_cast<int>(record.check[check].frame) > i) check--;
        for (; check >= 0 && static_cast<int>(record.check[check].frame) == i; check--)
            if (frames->checks == kMaxChecks) {
                frames->lost_check = true;
            } else {
                frames->check[frames->checks] = record.check[check];
                frames->check[frames->checks++].frame = static_cast<uint32_t>(at);
            }
    }
}

// Appends the new frames to the record's outer ones, inside last, with their ids. The path's id; 0: no room.
NodeId append(Thread* thread, Table* table, NewFrames& frames) {
    StackRecord& record = thread->record;
    int inner = record.count + frames.count - 1;  // index in the record of the innermost frame
    NodeId id = record.count > 1 ? record.id[record.count - 1] : 0;
    for (int i = frames.count - 1; i >= 0; i--) {
        int at = inner - i;
        const Frame& frame = frames.frame[i];
        record.frame[at] = frame;
        record.value[at] = frame.pc;
        // An interrupted frame's pc is among the checks: its slot is its own copy, which always holds.
        record.slot[at] =
            frames.slot[i] != 0 ? frames.slot[i] : reinterpret_cast<uint64_t>(&record.value[at]);
        id = known_child(thread, table, id, frame.node_pc);
        record.id[at] = id;
    }
    if (record.checks + frames.checks > kMaxChecks) frames.lost_check = true;
    for (int i = frames.checks - 1; i >= 0 && !frames.lost_check; i--) {
        record.check[record.checks] = frames.check[i];
        record.check[record.checks++].frame = static_cast<uint32_t>(inner) - frames.check[i].frame;
    }
    record.count = inner + 1;
    return id;
}

NodeId leaf_of(Thread* thread, Table* table, NodeId path, uint8_t function) {
    NodeId leaf = known_child(thread, table, path, function);
    return leaf != 0 ? leaf : pathless_leaf(static_cast<uf_function>(function));
}

// RARE. Not remembered: the slots that such a walk reads are many.
__attribute__((noinline)) NodeId walk_whole_stack(Walk* walk, const Place& at) {
    Thread* thread = walk->thread;
    thread->record.clear();
    StepEnd end = walk_all(walk, at);
    NodeId id = 0;
    for (int i = walk->frames->count - 1; i >= 0; i--)
        id = known_child(thread, walk->table, id, walk->frames->frame[i].node_pc);
    uint32_t before = walk->table->header()->node_count;
    NodeId leaf = leaf_of(thread, walk->table, id, at.function);
    if (leaf >= before) count_cut(walk, end);
    return leaf;
}

// SLOW. `*remembered`: the record now holds this stack whole, so it can be cached.
__attribute__((noinline)) NodeId walk_stack(Thread* thread, Table* table, const Place& at, bool* remembered) {
    StackRecord& record = thread->record;
    NewFrames* frames = &thread->new_frames;
    frames->count = frames->checks = 0;
    frames->lost_check = false;
    Walk walk{thread, table, frames, at.rbp, 0, 0, true, false};
    find_stack(&walk, at.sp);
    Frame current{at.pc, at.sp, kInRegister, 0};
    uint64_t slot = 0;
    int top = record.count - 1;
    int common = 0;  // recorded frames that hold, counted from the outside
    bool changed_stack = false;
    StepEnd end = StepEnd::kStepped;
    for (;;) {
        // Recorded frames further in than this one; once the walk has come to another stack, also those that
        // it has left behind on the one it came from.
        while (top > 0 && (record.frame[top].sp < current.sp ||
                           (changed_stack && record.frame[top].sp - current.sp > kOtherStack)))
            top--;
        if (top > 0 && same_state(record.frame[top], current)) {
            int from = still_holds(record, top, at.rbp);
            if (from == 0) {
                common = top;
                break;
            }
            if (frames->count + top - from >= kMaxFrames) {
                end = StepEnd::kTooManyChecks;
                break;
            }
            if (from < top) {
                take_over(frames, record, top, from, slot);
                current = record.frame[from];
                changed_stack |= current.sp - record.frame[top].sp > kOtherStack;
                slot = record.slot[from] == reinterpret_cast<uint64_t>(&record.value[from])
                           ? 0
                           : record.slot[from];
            }
            if (!record.own_stack) walk.own_stack = false;
            top = from - 1;
        }
        if (frames->count == kMaxFrames) {
            end = StepEnd::kTooManyChecks;
            break;
        }
        int index = frames->count++;
        const KnownRule& rule = rule_of(&walk, current.pc);
        frames->frame[index] = Frame{current.pc, current.sp, current.rbp_location, rule.node_pc};
        frames->slot[index] = slot;
        if (__builtin_expect(step_by_sp(walk, rule, &current, &slot), 1)) continue;
        Frame caller = current;  // copies, so that the loop keeps its own in registers
        uint64_t at_slot = slot;
        end = step(&walk, index, rule, &caller, &at_slot);
        if (end != StepEnd::kStepped) break;
        current = caller;
        slot = at_slot;
        changed_stack |= current.sp - frames->frame[index].sp > kOtherStack;  // lower addresses: wraps
    }
    if (end == StepEnd::kNeedsRegisters) return walk_whole_stack(&walk, at);
    bool own_stack = walk.own_stack && (common == 0 || record.own_stack);
    if (common == 0)
        record.clear();
    else
        record.keep_outer(common + 1);
    if (record.count + frames->count > kMaxFrames + 1) {
        // Deeper than the record: the inner frames alone.
        record.clear();
        end = StepEnd::kTooManyChecks;
    }
    record.own_stack = own_stack;
    NodeId path = append(thread, table, *frames);
    uint32_t before = table->header()->node_count;
    NodeId leaf = leaf_of(thread, table, path, at.function);
    if (leaf >= before) count_cut(&walk, end);
    *remembered = end != StepEnd::kTooManyChecks && !frames->lost_check;
    if (!*remembered) record.clear();
    return leaf;
}

class SlotList {
  public:
    SlotList(CachedStack* entry, uint64_t sp) : entry_(entry), sp_(sp) {}

    bool add(uint64_t address, uint64_t value) {
        uint64_t offset = (address - sp_) >> 3;
        if (offset > UINT16_MAX || count_ == kMaxGroups * kSlotsPerGroup) return false;
        put(static_cast<uint16_t>(offset), value);
        return true;
    }
    // Whole groups: the last slot again.
    void finish() {
        while (count_ > 0 && count_ % kSlotsPerGroup != 0) put(last_offset_, last_value_);
        entry_->group_bytes =
            static_cast<uint16_t>(static_cast<size_t>(count_ / kSlotsPerGroup) * sizeof(SlotGroup));
    }

  private:
    void put(uint16_t offset, uint64_t value) {
        SlotGroup& group = entry_->group[count_ / kSlotsPerGroup];
        group.offset[count_ % kSlotsPerGroup] = last_offset_ = offset;
        group.value[count_++ % kSlotsPerGroup] = last_value_ = value;
    }
    CachedStack* entry_;
    uint64_t sp_;
    int count_ = 0;
    uint16_t last_offset_ = 0;
    uint64_t last_value_ = 0;
};

// Every slot that proves the recorded stack, from the inside. False (and the entry empty): it has no room for
// them.
bool fill(CachedStack* entry, const StackRecord& record, const Place& at, NodeId leaf) {
    entry->call = 0;
    entry->rbp_used = 0;
    SlotList slots(entry, at.sp);
    int check = record.checks - 1;
    for (int i = record.count - 1; i >= 1; i--) {
        for (; check >= 0 && static_cast<int>(record.check[check].frame) == i; check--) {
            const Check& read = record.check[check];
            if (read.address == kInRegister)
                entry->rbp_used = ~uint64_t{0};
            else if (!slots.add(read.address, read.value))
                return false;
        }
        bool interrupted = record.slot[i - 1] == reinterpret_cast<uint64_t>(&record.value[i - 1]);
        if (i > 1 && !interrupted && !slots.add(record.slot[i - 1], record.value[i - 1])) return false;
    }
    slots.finish();
    entry->sp = at.sp;
    entry->rbp = at.rbp;
    entry->leaf = leaf;
    entry->one_by_one = !record.own_stack;
    entry->call = call_of(at);
    return true;
}

// An entry to fill: an empty one of the set, else each in turn.
uint32_t choose_victim(StackCache* cache, uint32_t set) {
    for (uint32_t i = set; i < set + kSetSize; i++)
        if (cache->tag[i] == 0) return i;
    return set + (cache->victim++ & (kSetSize - 1));
}

NodeId find(Thread* thread, Table* table, const Place& at) {
    StackCache& cache = thread->cache;
    uint32_t place = place_of(at);
    LastAt* last_at = &cache.last_at[place];
    const CachedStack& last = entry_at(cache, *last_at);
    uint64_t hash = place;
    if (__builtin_expect(is_key(last, at), 1)) {
        if (last.one_by_one) {
            if (slots_hold(last, at)) return cache.hits++, last.leaf;
        } else {
            Contents contents = read_contents(last, at);
            if (contents.same) return last_at->steady = true, cache.hits++, last.leaf;
            hash = contents.hash;
        }
    }
    uint32_t set = set_of(hash);
    uint16_t tag = tag_of(hash);
    for (uint32_t i = set; i < set + kSetSize; i++) {
        if (cache.tag[i] != tag) continue;
        const CachedStack& entry = cache.entry[i];
        if (is_key(entry, at) && slots_hold(entry, at)) {
            *last_at = LastAt{i * static_cast<uint32_t>(sizeof(CachedStack)), false};
            return cache.hits++, entry.leaf;
        }
    }
    bool remembered = false;
    NodeId leaf = walk_stack(thread, table, at, &remembered);
    if (!remembered) return leaf;
    uint32_t to = choose_victim(&cache, set);
    bool filled = fill(&cache.entry[to], thread->record, at, leaf);
    cache.tag[to] = filled ? tag : 0;
    if (filled) *last_at = LastAt{to * static_cast<uint32_t>(sizeof(CachedStack)), false};
    return leaf;
}

}

NodeId find_or_walk(Thread* thread, Table* table, Place at) {
    StackCache& cache = thread->cache;
    if (__builtin_expect(cache.bypass != 0, 0)) {
        cache.bypass--;
        bool remembered;
        return walk_stack(thread, table, at, &remembered);
    }
    if (__builtin_expect(++cache.window == kWindow, 0)) {
        uint64_t all = uint64_t{kWindow} + thread->steady_hits;
        uint64_t hits = uint64_t{cache.hits} + thread->steady_hits;
        if (hits * 100 < all * kWorthwhilePercent) cache.bypass = kBypass;
        cache.window = cache.hits = thread->steady_hits = 0;
    }
    return find(thread, table, at);
}

}
