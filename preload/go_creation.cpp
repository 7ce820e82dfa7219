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

bool is_go_statement(uint64_t return_address) {
    constexpr uint64_t kCall = 5;  // call rel32
    GoFunction caller, called;
    if (return_address < 4096 || !find_go_function(return_address - 1, &caller) ||
        return_address - kCall < caller.entry)
        return false;
    const auto* code = reinterpret_cast<const uint8_t*>(return_address - kCall);
    // The first goroutine is made by rt0_go, through a wrapper of newproc's.
    if (code[0] != 0xe8 || strcmp(caller.name, "runtime.rt0_go") == 0 ||
        strcmp(caller.name, "runtime.newproc") == 0)
        return false;
    int32_t distance;
    memcpy(&distance, code + 1, sizeof distance);
    uint64_t target = return_address + static_cast<uint64_t>(int64_t{distance});
    return find_go_function(target, &called) && called.entry == target &&
           strcmp(called.name, "runtime.newproc") == 0;
}

uint64_t find_creation(uint64_t goroutine) {
    uint64_t known = __atomic_load_n(&known_offset, __ATOMIC_RELAXED);
    if (known != 0) return is_go_statement(word_at(goroutine + known)) ? goroutine + known : 0;
    if (!readable(goroutine + kEnd - 8)) return 0;
    uint64_t found = 0;
    for (uint64_t offset = kFirst; offset < kEnd; offset += 8) {
        if (!is_go_statement(word_at(goroutine + offset))) continue;
        if (found != 0) return 0;
        found = offset;
    }
    if (found == 0) return 0;
    __atomic_store_n(&known_offset, found, __ATOMIC_RELAXED);
    return goroutine + found;
}

}
