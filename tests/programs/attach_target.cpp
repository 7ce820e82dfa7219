// attach_target BOOKS: says "ready", and for each line that it reads works a round, keeps books of it, writes
// them and says "done"; ends at the end of its input. What it did before the first line is not in the books.
#include <pthread.h>
#include <stdio.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(kept)
BOOKS_MALLOC(freed_by_thread)

namespace {

constexpr int kBlocks = 2000;
void* old_blocks[kBlocks];

BOOKS_FUNCTION books::Block deep(int depth, std::size_t bytes) {
    if (depth == 0) return site_kept(bytes);
    books::Block block = deep(depth - 1, bytes);
    asm volatile("" : "+m"(block));
    return block;
}

void* work(void*) {
    for (int i = 0; i < kBlocks; ++i) {
        deep(i % 60, 1 + static_cast<std::size_t>(i));
        books::Block block = site_freed_by_thread(64);
        void* const address = block.address;
        books::gave(block);
        free(address);
    }
    return nullptr;
}

}  // namespace

int main(int, char** arguments) {
    for (void*& block : old_blocks) block = malloc(32);
    puts("ready");
    fflush(stdout);
    static char line[64];
    while (fgets(line, sizeof line, stdin)) {
        for (void*& block : old_blocks) {  // from before: no error, and not counted
            free(block);
            block = nullptr;
        }
        pthread_t threads[4];
        for (pthread_t& thread : threads) pthread_create(&thread, nullptr, work, nullptr);
        for (const pthread_t& thread : threads) pthread_join(thread, nullptr);
        books::write_file(arguments[1]);
        puts("done");
        fflush(stdout);
    }
    return 0;
}
