// A table in this process's own memory, as a collector would have made it.
#pragma once
#include <functional>

#include "preload/table_view.h"

namespace unfreed::preload {

class TestTable {
  public:
    explicit TestTable(uint32_t cell_shift = 5);
    ~TestTable();
    TestTable(const TestTable&) = delete;
    TestTable& operator=(const TestTable&) = delete;

    Table* get() const { return table_; }
    uint64_t loss(uf_loss cause) const { return table_->header()->loss[cause]; }

  private:
    Table* table_;
};

// Runs `body(thread number)` on that many threads, which all start it at the same time, and waits for them.
void on_threads(int count, const std::function<void(int)>& body);

}
