// program_break BOOKS: an allocator of the program's own on sbrk and brk, beside malloc on the same break.
// Each growth is booked as a block; what is given back is taken from the end, across two growths and within
// one.
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(from_malloc)
BOOKS_SITE(by_sbrk, "sbrk", "mmap");
BOOKS_FUNCTION books::Block site_by_sbrk(std::size_t bytes) {
    void* const p = sbrk(static_cast<intptr_t>(bytes));
    return books::got(page_by_sbrk, p == reinterpret_cast<void*>(-1) ? nullptr : p, bytes);
}
BOOKS_SITE(by_brk, "brk", "mmap");
BOOKS_FUNCTION books::Block site_by_brk(std::size_t bytes) {
    char* const before = static_cast<char*>(sbrk(0));
    return books::got(page_by_brk, brk(before + bytes) == 0 ? before : nullptr, bytes);
}
// The call leaves no frame of its own: as an allocator's `return sbrk(bytes);` is compiled.
BOOKS_SITE(by_a_jump, "brk", "mmap");
BOOKS_FUNCTION __attribute__((optimize("optimize-sibling-calls"))) void* jumps_to_sbrk(std::size_t bytes) {
    return sbrk(static_cast<intptr_t>(bytes));
}
BOOKS_FUNCTION books::Block site_by_a_jump(std::size_t bytes) {
    return books::got(page_by_a_jump, jumps_to_sbrk(bytes), bytes);
}

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    site_from_malloc(100);  // malloc's own first growth
    books::Block last, middle;
    for (int i = 0; i < 3; ++i) middle = site_by_sbrk(10000);
    site_from_malloc(300000 / 4);  // it finds a break that is not where it left it
    site_by_a_jump(3 * 4096);
    middle = site_by_sbrk(20001);
    last = site_by_brk(40000);
    const bool all = middle.address && last.address;
    // The last growth whole, and the end of the one before, not to a page's end.
    if (brk(static_cast<char*>(middle.address) + 5001) != 0) return 97;
    books::gave(last);
    books::gave(*middle.site, 0, 15000);
    if (brk(reinterpret_cast<void*>(uintptr_t{1} << 47)) == 0) return 98;  // refused: too much
    books::write_file(argv[1]);
    return all ? 0 : 97;
}
