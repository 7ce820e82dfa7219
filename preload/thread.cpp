#include "preload/thread.h"

#include <pthread.h>
#include <sys/mman.h>

#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

constexpr int kMaxInterruptions = 4;  // handlers that interrupt hooks that interrupt hooks

// States of threads that have ended, for those to come. Held for a few instructions with all signals held
// back.
uint32_t free_lock = 0;
Thread* free_threads = nullptr;

uint32_t sessions = 0;  // counts sessions, so that a state knows whether its counters are in this one's table

pthread_key_t key_of_end;
bool has_key = false;

class FreeList {
  public:
    FreeList() {
        while (__atomic_exchange_n(&free_lock, 1, __ATOMIC_ACQUIRE) != 0) system_call(SYS_sched_yield);
    }
    ~FreeList() { __atomic_store_n(&free_lock, 0, __ATOMIC_RELEASE); }
    FreeList(const FreeList&) = delete;
    FreeList& operator=(const FreeList&) = delete;

  private:
    SignalsHeld held_;  // constructed first, destroyed last
};

Thread* new_thread(Table* table) {
    FreeList list;
    Thread* thread = free_threads;
    if (thread) {
        free_threads = thread->next_free;
        return thread;
    }
    thread = static_cast<Thread*>(map_private(sizeof(Thread)));
    if (!thread) table->lose(UF_LOSS_no_thread_memory);
    return thread;
}

// Runs when a thread ends, before some of its last frees and allocations: those get a state anew.
void release_thread(void* state) {
    current_thread = nullptr;
    for (auto* thread = static_cast<Thread*>(state); thread;) {
        Thread* inner = thread->inner;
        thread->inner = nullptr;
        thread->busy = false;
        thread->generation = 0;  // another thread's stacks may lie at the same addresses
        FreeList list;
        thread->next_free = free_threads;
        free_threads = thread;
        thread = inner;
    }
}

__attribute__((constructor)) void make_key() {
    has_key = pthread_key_create(&key_of_end, release_thread) == 0;
}

void take_counters(Thread* thread, Table* table) {
    constexpr uint32_t kShared = UF_COUNTER_SLOTS - 1;
    uint32_t* used = &table->header()->counter_slots;
    uint32_t slot = __atomic_load_n(used, __ATOMIC_RELAXED);
    do {
        if (slot >= kShared) {
            slot = kShared;
            __atomic_store_n(used, UF_COUNTER_SLOTS, __ATOMIC_RELAXED);
            break;
        }
    } while (!__atomic_compare_exchange_n(used, &slot, slot + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    thread->shared_counters = slot == kShared;
    thread->counters = table->counters(slot);
    thread->session = sessions;
}

}

__thread Thread* current_thread __attribute__((tls_model("initial-exec"))) = nullptr;

void* map_private(size_t bytes) {
    long at = system_call(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at < 0 && at > -4096 ? nullptr : reinterpret_cast<void*>(at);
}

void reset_counter_slots() {
    // After a fork another thread may have held it, and the states on the list are this process's own copies.
    __atomic_store_n(&free_lock, 0, __ATOMIC_RELAXED);
    sessions++;
}

__attribute__((noinline)) Thread* other_thread_state(Table* table) {
    Thread* thread = current_thread;
    if (!thread) {
        SignalsHeld held;
        thread = new_thread(table);
        current_thread = thread;
        if (thread && has_key) pthread_setspecific(key_of_end, thread);
        return thread;
    }
    for (int i = 0; i < kMaxInterruptions && thread; i++) {
        if (!thread->inner) {
            SignalsHeld held;
            thread->inner = new_thread(table);
        }
        thread = thread->inner;
        if (thread && !thread->busy) return thread;
    }
    table->lose(UF_LOSS_reentered);
    return nullptr;
}

__attribute__((noinline)) void refresh(Thread* thread, Table* table) {
    thread->stack_low = thread->stack_top = 0;
    if (thread->generation != 0 || thread->session != 0) {
        auto remembered = reinterpret_cast<uint64_t>(&thread->record);
        uint64_t end = reinterpret_cast<uint64_t>(thread) + sizeof(Thread);
        system_call(SYS_madvise, static_cast<long>(remembered), static_cast<long>(end - remembered),
                    MADV_DONTNEED);
    }
    thread->record.clear();
    if (thread->session != sessions) take_counters(thread, table);
    thread->generation = current_generation();
}

}
