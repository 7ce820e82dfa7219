#include "preload/checked.h"

#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "preload/modules.h"
#include "preload/rule.h"
#include "preload/system_call.h"
#include "preload/thread.h"

namespace unfreed::preload {
namespace {

uint64_t compared = 0;
uint64_t different = 0;
uint64_t longer = 0;  // ours goes on where libunwind ends
uint64_t guessed =
    0;  // libunwind goes on from code without unwind information, by a guess; ours ends there, counted

constexpr uint64_t kReported = 5;

void report(Table* table, const Place& at, NodeId leaf, const uint64_t* oracle, int count) {
    char text[4096];
    int length =
        snprintf(text, sizeof text, "unfreed checked: stacks differ at pc %lx sp %lx\n", at.pc, at.sp);
    NodeId id = table->nodes()[leaf].caller;
    for (int i = 0; (i < count || id != 0) && length < 3900; i++) {
        uint64_t ours = id != 0 ? table->nodes()[id].pc & UF_PC_ADDRESS : 0;
        uint64_t theirs = i < count ? oracle[i] : 0;
        length +=
            snprintf(text + length, sizeof text - static_cast<size_t>(length),
                     "  %2d ours %12lx libunwind %12lx%s\n", i, ours, theirs, ours != theirs ? "  <" : "");
        id = id != 0 ? table->nodes()[id].caller : 0;
    }
    system_call(SYS_write, 2, word(text), length);
}

bool has_no_rule(Table* table, uint64_t pc) {
    CodeObject object{};
    uint32_t module;
    bool found = find_module(table, pc - 1, &object, &module);
    return make_rule(found ? &object : nullptr, pc - 1).cfa == kCfaNoCfi;
}

bool is_code(Table* table, uint64_t pc) {
    CodeObject object{};
    uint32_t module;
    return find_module(table, pc - 1, &object, &module);
}

__attribute__((destructor)) void say_totals() {
    if (__atomic_load_n(&compared, __ATOMIC_RELAXED) == 0) return;
    char text[300];
    int length = snprintf(
        text, sizeof text,
        "unfreed checked: %lu stacks compared, %lu differ, %lu longer than libunwind's, %lu end at code "
        "without unwind information\n",
        compared, different, longer, guessed);
    system_call(SYS_write, 2, word(text), length);
}

}

__attribute__((noinline)) void check_against_oracle(Thread*, Table* table, const Place& at, NodeId leaf) {
    // libunwind takes locks, which a handler's own comparison would wait for. It maps memory for itself,
    // through our hooks: those stacks are not compared.
    SignalsHeld held;
    static __thread bool comparing __attribute__((tls_model("initial-exec"))) = false;
    if (comparing) return;
    comparing = true;
    constexpr int kDeep = kMaxFrames + 64;
    static __thread uint64_t oracle[kDeep] __attribute__((tls_model("initial-exec")));
    // libunwind remembers rules by address too, and nobody tells it of a dlclose.
    static uint32_t rules_of = 0;
    if (rules_of != current_generation()) unw_flush_cache(unw_local_addr_space, 0, 0);
    rules_of = current_generation();
    unw_context_t context;
    unw_cursor_t cursor;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    int count = 0;
    bool inside = true;
    do {
        unw_word_t ip = 0;
        unw_word_t sp = 0;
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        unw_get_reg(&cursor, UNW_REG_SP, &sp);
        if (inside && ip == at.pc && sp == at.sp) inside = false;
        if (!inside && ip != 0) oracle[count++] = ip;
    } while (count < kDeep && unw_step(&cursor) > 0);
    __atomic_fetch_add(&compared, 1, __ATOMIC_RELAXED);
    const uf_node* nodes = table->nodes();
    int i = 0;
    bool differs = inside;
    NodeId id = nodes[leaf].caller;
    for (; id != 0 && i < count && !differs; id = nodes[id].caller, i++)
        differs = (nodes[id].pc & UF_PC_ADDRESS) != oracle[i];
    if (!differs && id == 0 && i < count && count <= kMaxFrames) {
        if ((i > 0 && has_no_rule(table, oracle[i - 1])) || !is_code(table, oracle[i]))
            __atomic_fetch_add(&guessed, 1, __ATOMIC_RELAXED);
        else
            differs = true;
    }
    if (!differs && id != 0) __atomic_fetch_add(&longer, 1, __ATOMIC_RELAXED);
    if (differs && __atomic_fetch_add(&different, 1, __ATOMIC_RELAXED) < kReported)
        report(table, at, leaf, oracle, count);
    comparing = false;
}

}
