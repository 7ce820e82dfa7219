// churn BOOKS LIVE MILLIONS: a steady live heap of LIVE blocks, of which MILLIONS times a million are
// replaced.
#include <stdint.h>
#include <stdlib.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(churn_a)
BOOKS_MALLOC(churn_b)
BOOKS_MALLOC(churn_c)

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    const std::size_t live = strtoul(argv[2], nullptr, 10), times = strtoul(argv[3], nullptr, 10) * 1000000;
    auto* blocks = static_cast<books::Block*>(calloc(live, sizeof(books::Block)));
    if (!blocks) return 97;
    uint64_t random = 1;
    for (std::size_t i = 0; i < live + times; ++i) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        books::Block& block = blocks[i < live ? i : (random >> 33) % live];
        void* old = block.address;
        books::gave(block);
        free(old);
        const std::size_t bytes = 16 + (random >> 40) % 200;
        block = i % 3 == 0 ? site_churn_a(bytes) : i % 3 == 1 ? site_churn_b(bytes) : site_churn_c(bytes);
    }
    books::write_file(argv[1]);
    return 0;
}
