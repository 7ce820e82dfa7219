// thread_parade BOOKS: many short threads one after the other and beside each other, more than the shim has
// counters for; each leaves blocks behind, some of which a later thread frees.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(left)
BOOKS_MALLOC(passed_on)

namespace {

std::atomic<void*> passed{nullptr};
pthread_barrier_t together;

void work(uintptr_t n) {
    site_left(n % 97);
    free(passed.exchange(site_passed_on(48).address));  // the predecessor's block
}

void* one_of_many(void* n) {
    work(reinterpret_cast<uintptr_t>(n));
    return nullptr;
}

void* one_of_crowd(void* n) {  // all live at the same time
    pthread_barrier_wait(&together);
    work(reinterpret_cast<uintptr_t>(n));
    pthread_barrier_wait(&together);
    return nullptr;
}

}  // namespace

int main(int, char** argv) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    for (uintptr_t i = 0; i < 600; i += 3) {
        pthread_t threads[3];
        for (uintptr_t k = 0; k < 3; ++k)
            if (pthread_create(&threads[k], &attributes, one_of_many, reinterpret_cast<void*>(i + k)) != 0)
                return 97;
        for (pthread_t thread : threads) pthread_join(thread, nullptr);
    }
    constexpr uintptr_t kCrowd = 100;
    pthread_barrier_init(&together, nullptr, kCrowd);
    pthread_t crowd[kCrowd];
    for (uintptr_t i = 0; i < kCrowd; ++i)
        if (pthread_create(&crowd[i], &attributes, one_of_crowd, reinterpret_cast<void*>(i)) != 0) return 97;
    for (pthread_t thread : crowd) pthread_join(thread, nullptr);
    free(passed.exchange(nullptr));
    books::gave(page_passed_on, page_passed_on.ever_blocks, page_passed_on.ever_bytes);
    books::write_file(argv[1]);
    return 0;
}
