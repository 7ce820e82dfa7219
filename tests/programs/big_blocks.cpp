// big_blocks BOOKS: blocks around the sizes at which a table's fields could overflow (16 MiB, 4 GiB) and
// above, none of them touched, so that they cost address space only. Ends with 77 where the system refuses
// them.
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(around_16m)
BOOKS_MALLOC(above_4g)
BOOKS_SITE(calloc_above_4g, "calloc", "malloc");
BOOKS_FUNCTION books::Block site_calloc_above_4g(std::size_t n) {
    return books::got(page_calloc_above_4g, calloc(n, 8), n * 8);
}
BOOKS_SITE(realloc_above_4g, "realloc", "malloc");
BOOKS_FUNCTION books::Block site_realloc_above_4g(books::Block block, std::size_t n) {
    void* p = realloc(block.address, n);
    if (!p) return {};
    books::gave(block);
    return books::got(page_realloc_above_4g, p, n);
}
BOOKS_SITE(mmap_100g, "mmap", "mmap");
BOOKS_FUNCTION books::Block site_mmap_100g() {
    const std::size_t n = std::size_t{100} << 30;
    void* p = mmap(nullptr, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return books::got(page_mmap_100g, p == MAP_FAILED ? nullptr : p, n);
}

int main(int, char** argv) {
    constexpr std::size_t kM16 = std::size_t{1} << 24, kG4 = std::size_t{1} << 32;
    for (std::size_t n : {kM16 - 2, kM16 - 1, kM16, kM16 + 1})
        for (int keep = 0; keep < 2; ++keep) {
            books::Block block = site_around_16m(n);
            void* p = block.address;
            if (keep) continue;
            books::gave(block);
            free(p);
        }
    const bool all = site_above_4g(kG4 - 1).address && site_above_4g(kG4).address &&
                     site_above_4g(kG4 + 12345).address && site_calloc_above_4g((kG4 + 4096) / 8).address &&
                     site_realloc_above_4g(site_above_4g(kM16), kG4 + 99).address && site_mmap_100g().address;
    books::write_file(argv[1]);
    return all ? 0 : 77;
}
