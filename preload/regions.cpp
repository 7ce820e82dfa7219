#include "preload/regions.h"

#include <cstring>

#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

constexpr int kPatience = 20000;  // times 100 us; then the change is counted as lost

uint32_t region_lock = 0;
uint32_t* sorted = nullptr;  // slots by start address; private to the process
uint32_t sorted_count = 0;
uint32_t* unused = nullptr;  // free slots below region_count
uint32_t unused_count = 0;
uint32_t last_block = 0;

class Locked {
  public:
    explicit Locked(Table* table) : table_(table) {
        for (int i = 0; i < kPatience && !owned_; i++) {
            owned_ = __atomic_exchange_n(&region_lock, 1, __ATOMIC_ACQUIRE) == 0;
            if (owned_) break;
            struct {
                long seconds, nanoseconds;
            } pause{0, 100'000};
            system_call(SYS_nanosleep, word(&pause), 0);
        }
        if (!owned_) table->lose(UF_LOSS_region_busy);
    }
    ~Locked() {
        if (owned_) __atomic_store_n(&region_lock, 0, __ATOMIC_RELEASE);
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    explicit operator bool() const { return owned_ && sorted && unused; }
    uf_region* slot(uint32_t position) const { return &table_->regions()[sorted[position]]; }

  private:
    SignalsHeld held_;
    Table* table_;
    bool owned_ = false;
};

uint64_t page_up(uint64_t bytes) {
    return (bytes + 4095) & ~uint64_t{4095};
}

// The first position whose region ends after `address`.
uint32_t first_ending_after(const Locked& locked, uint64_t address) {
    uint32_t low = 0;
    uint32_t high = sorted_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const uf_region* region = locked.slot(middle);
        if (region->start + region->length <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t new_block() {
    if (++last_block == 0) ++last_block;
    return last_block;
}

// The part of `region` within [start, end), which it reaches into.
uf_region part_of(const uf_region& region, uint64_t start, uint64_t end) {
    uf_region part = region;
    uint64_t region_end = region.start + region.length;
    part.start = region.start > start ? region.start : start;
    part.length = (region_end < end ? region_end : end) - part.start;
    if (end < region_end) part.slack = 0;
    return part;
}

// `position`: where `region` belongs in the sorted index.
void insert(Table* table, const uf_region& region, uint32_t position) {
    uint32_t slot;
    if (unused_count > 0) {
        slot = unused[--unused_count];
    } else if (table->header()->region_count < UF_REGIONS) {
        slot = table->header()->region_count;
        __atomic_store_n(&table->header()->region_count, slot + 1, __ATOMIC_RELEASE);
    } else {
        return table->lose(UF_LOSS_region_table_full);
    }
    uf_region* to = &table->regions()[slot];
    to->start = region.start;
    to->stack = region.stack;
    to->epoch = region.epoch;
    to->block = region.block;
    to->slack = region.slack;
    __atomic_store_n(&to->length, region.length, __ATOMIC_RELEASE);
    memmove(&sorted[position + 1], &sorted[position], (sorted_count - position) * sizeof *sorted);
    sorted[position] = slot;
    sorted_count++;
}

void erase(const Locked& locked, uint32_t position) {
    __atomic_store_n(&locked.slot(position)->length, 0, __ATOMIC_RELEASE);
    unused[unused_count++] = sorted[position];
    sorted_count--;
    memmove(&sorted[position], &sorted[position + 1], (sorted_count - position) * sizeof *sorted);
}

void remove(const Locked& locked, Table* table, uint64_t start, uint64_t end, Removed* removed) {
    uint32_t position = first_ending_after(locked, start);
    while (position < sorted_count) {
        uf_region* region = locked.slot(position);
        uint64_t region_end = region->start + region->length;
        if (region->start >= end) break;
        if (removed && removed->count < Removed::kMax)
            removed->part[removed->count++] = part_of(*region, start, end);
        uf_region right = *region;
        right.start = end;
        right.length = region_end > end ? region_end - end : 0;
        // The new slot first, then the old one shorter: see the overlap rule in contract/table.h.
        if (right.length != 0) insert(table, right, position + 1);
        if (region->start < start) {
            __atomic_store_n(&region->length, start - region->start, __ATOMIC_RELEASE);
            region->slack = 0;
            position++;
        } else {
            erase(locked, position);
        }
    }
}

}

void reset_regions(Table* table) {
    constexpr size_t kBytes = UF_REGIONS * sizeof(uint32_t);
    if (!sorted) sorted = static_cast<uint32_t*>(map_private(kBytes));
    if (!unused) unused = static_cast<uint32_t*>(map_private(kBytes));
    sorted_count = unused_count = last_block = 0;
    table->header()->region_count = 0;
    __atomic_store_n(&region_lock, 0, __ATOMIC_RELEASE);
}

void add_region(Table* table, uint64_t start, uint64_t length, uint32_t stack, bool reserved) {
    Locked locked(table);
    if (!locked) return;
    remove(locked, table, start, start + page_up(length), nullptr);
    uint32_t epoch = reserved ? UF_EPOCH_RESERVED : table->header()->epoch & UF_EPOCH_MAX;
    uint64_t pages = page_up(length);
    insert(table, uf_region{start, pages, stack, epoch, new_block(), static_cast<uint32_t>(pages - length)},
           first_ending_after(locked, start));
}

void remove_region(Table* table, uint64_t start, uint64_t length, Removed* removed) {
    removed->count = 0;
    Locked locked(table);
    if (locked) remove(locked, table, start, start + page_up(length), removed);
}

void restore_regions(Table* table, const Removed& removed) {
    if (removed.count == 0) return;
    Locked locked(table);
    for (int i = 0; locked && i < removed.count; i++)
        insert(table, removed.part[i], first_ending_after(locked, removed.part[i].start));
}

Changed change_reservation(Table* table, uint64_t start, uint64_t length, bool reserved) {
    Changed changed{0, 0, 0};
    Locked locked(table);
    if (!locked) return changed;
    uint64_t end = start + page_up(length);
    for (uint32_t i = first_ending_after(locked, start); i < sorted_count && locked.slot(i)->start < end;
         i++) {
        const uf_region* region = locked.slot(i);
        if ((region->epoch == UF_EPOCH_RESERVED) == reserved) continue;
        uf_region part = part_of(*region, start, end);
        if (!reserved) part.block = new_block();
        part.epoch = reserved ? UF_EPOCH_RESERVED : table->header()->epoch & UF_EPOCH_MAX;
        remove(locked, table, part.start, part.start + part.length, nullptr);
        i = first_ending_after(locked, part.start);
        insert(table, part, i);
        changed.stack = part.stack;
        changed.parts++;
        changed.bytes += part.length - part.slack;
    }
    return changed;
}

}
