// memory_hog BOOKS: takes and touches a MiB at a time until something kills it; writes its books before each,
// so that they are behind by one block at most.
#include "tests/programs/books.h"

BOOKS_MALLOC(hog)

int main(int, char** argv) {
    for (;;) {
        books::write_file(argv[1]);
        const books::Block block = site_hog(1 << 20);
        if (!block.address) return 1;
        memset(block.address, 1, block.bytes);
    }
}
