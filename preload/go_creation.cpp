#include "preload/go_creation.h"

#include <cstring>

#include "preload/go_table.h"
#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

// Where gopc can be in the record. Go's allocator puts no two of them closer together.
constexpr uint64_t kFirst = 0x80, kEnd = 0x180;

uint64_t known_offset = 0;  // where it was the last time; any thread writes it, each use is proven anew

uint64_t word_at(uint64_t address) {
    return *reinterpret_cast<const volatile uint64_t*>(address);
}

}

Creator creator_at(uint64_t return_address) {
    constexpr uint64_t kCall = 5;  // call rel32
    GoFunction caller, called;
    if (return_address < 4096 || !find_go_function(return_address - 1, &caller) ||
        return_address - kCall < caller.entry)
        return Creator::kNone;
    const auto* code = reinterpret_cast<const uint8_t*>(return_address - kCall);
    if (code[0] != 0xe8) return Creator::kNone;
    int32_t distance;
    memcpy(&distance, code + 1, sizeof distance);
    uint64_t target = return_address + static_cast<uint64_t>(int64_t{distance});
    if (!find_go_function(target, &called) || called.entry != target ||
        strcmp(called.name, "runtime.newproc") != 0)
        return Creator::kNone;
    // The start is assembly, and calls by a wrapper of newproc's.
    bool by_runtime = strcmp(caller.name, "runtime.rt0_go") == 0 || strcmp(caller.name, called.name) == 0;
    return by_runtime ? Creator::kRuntime : Creator::kGoStatement;
}

Creation find_creation(uint64_t goroutine) {
    uint64_t known = __atomic_load_n(&known_offset, __ATOMIC_RELAXED);
    if (known != 0) return {creator_at(word_at(goroutine + known)), goroutine + known};
    Creation found{Creator::kNone, 0};
    if (!readable(goroutine + kEnd - 8)) return found;
    for (uint64_t offset = kFirst; offset < kEnd; offset += 8) {
        Creator creator = creator_at(word_at(goroutine + offset));
        if (creator == Creator::kNone) continue;
        if (found.creator != Creator::kNone) return {Creator::kNone, 0};
        found = {creator, goroutine + offset};
    }
    if (found.creator != Creator::kNone)
        __atomic_store_n(&known_offset, found.address - goroutine, __ATOMIC_RELAXED);
    return found;
}

}
