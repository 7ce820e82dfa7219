#include "tests/unit/table/test_table.h"

#include <sys/mman.h>

#include <barrier>
#include <stdexcept>
#include <thread>
#include <vector>

#include "preload/live.h"
#include "preload/regions.h"
#include "preload/system_call.h"
#include "preload/trie.h"

namespace unfreed::preload {

void* map_private(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? nullptr : at;
}

TestTable::TestTable(uint32_t cell_shift) {
    void* at = mmap(nullptr, UF_TABLE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::runtime_error("no room for a table");
    table_ = static_cast<Table*>(at);
    table_->header()->cell_shift = cell_shift;
    reset_trie(table_);
    reset_live(table_);
    reset_regions(table_);
}

TestTable::~TestTable() {
    munmap(table_, UF_TABLE_BYTES);
}

void on_threads(int count, const std::function<void(int)>& body) {
    std::barrier start(count);
    std::vector<std::thread> threads;
    threads.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; i++)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            body(i);
        });
    for (std::thread& thread : threads) thread.join();
}

}
