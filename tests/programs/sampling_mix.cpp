// sampling_mix BOOKS: allocations of every size, from far below a sampling interval to far above it, half of
// each freed again: the truth that estimates of --sample are held against. The order is mixed by a fixed
// seed.
#include <stdint.h>
#include <stdlib.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(bytes_16)
BOOKS_MALLOC(bytes_100)
BOOKS_MALLOC(bytes_1000)
BOOKS_MALLOC(bytes_10000)
BOOKS_MALLOC(bytes_100000)
BOOKS_MALLOC(bytes_3000000)

namespace {

struct Kind {
    books::Block (*take)(std::size_t);
    std::size_t bytes;
    int left;
};
Kind kinds[] = {{site_bytes_16, 16, 200000},      {site_bytes_100, 100, 60000},
                {site_bytes_1000, 1000, 12000},   {site_bytes_10000, 10000, 1200},
                {site_bytes_100000, 100000, 120}, {site_bytes_3000000, 3000000, 8}};

}  // namespace

int main(int, char** argv) {
    uint64_t random = 42;
    int left = 0;
    for (const Kind& kind : kinds) left += kind.left;
    while (left) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int at = static_cast<int>((random >> 33) % static_cast<uint64_t>(left));
        Kind* kind = kinds;
        while (at >= kind->left) at -= (kind++)->left;
        --left;
        books::Block block = kind->take(kind->bytes);
        if (kind->left-- % 2) continue;
        void* p = block.address;
        books::gave(block);
        free(p);
    }
    books::write_file(argv[1]);
    return 0;
}
