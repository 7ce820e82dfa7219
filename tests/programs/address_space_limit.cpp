// address_space_limit BOOKS: allocates under RLIMIT_AS until every function has failed; books what succeeded.
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <new>

#include "tests/programs/books.h"

BOOKS_MALLOC(until_failure)
BOOKS_SITE(realloc_until_failure, "realloc", "malloc");
BOOKS_FUNCTION books::Block site_realloc_until_failure(books::Block block, std::size_t bytes) {
    void* p = realloc(block.address, bytes);
    if (!p) return block;
    books::gave(block);
    return books::got(page_realloc_until_failure, p, bytes);
}
BOOKS_SITE(mmap_until_failure, "mmap", "mmap");
BOOKS_FUNCTION bool site_mmap_until_failure(std::size_t bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return false;
    books::got(page_mmap_until_failure, p, bytes);
    return true;
}

int main(int, char** argv) {
    long pages = 0;
    FILE* statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%ld", &pages) != 1) return 97;
    fclose(statm);
    const rlim_t limit = static_cast<rlim_t>(pages) * 4096 + (96u << 20);
    const rlimit limits{limit, limit};
    if (setrlimit(RLIMIT_AS, &limits) != 0) return 97;

    books::Block grown = site_until_failure(1 << 20);
    for (std::size_t bytes = 2 << 20; bytes < (128u << 20); bytes *= 2)
        grown = site_realloc_until_failure(grown, bytes);
    while (site_until_failure(1 << 20).address) {
    }
    while (site_mmap_until_failure(1 << 16)) {
    }
    for (int i = 0; i < 1000; ++i)
        if (site_until_failure(1 << 22).address || ::operator new(1 << 22, std::nothrow)) return 1;
    books::write_file(argv[1]);
    return 0;
}
