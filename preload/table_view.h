// Where the parts of the table are in this process: the one mapping of preload/contract/table.h.
#pragma once
#include "preload/contract/table.h"

namespace unfreed::preload {

class Table {
  public:
    uf_header* header() const { return at<uf_header>(UF_HEADER_OFFSET); }
    char* program(uint32_t slot) const { return at<char>(UF_PROGRAMS_OFFSET + slot * UF_PROGRAM_BYTES); }
    uf_module* modules() const { return at<uf_module>(UF_MODULES_OFFSET); }
    char* strings() const { return at<char>(UF_STRINGS_OFFSET); }
    uf_region* regions() const { return at<uf_region>(UF_REGIONS_OFFSET); }
    uint32_t* directory() const { return at<uint32_t>(UF_DIRECTORY_OFFSET); }
    uf_node* nodes() const { return at<uf_node>(UF_NODES_OFFSET); }
    uint32_t* node_index() const { return at<uint32_t>(UF_NODE_INDEX_OFFSET); }
    uf_counter* counters(uint32_t slot) const {
        return at<uf_counter>(UF_COUNTERS_OFFSET) + size_t{slot} * UF_NODES;
    }
    uint8_t* sampled() const { return at<uint8_t>(UF_SAMPLED_OFFSET); }
    uint64_t* chunks() const { return at<uint64_t>(UF_CHUNKS_OFFSET); }

    // Rare by nature, so one atomic counter for all threads.
    void lose(uf_loss cause) const { __atomic_fetch_add(&header()->loss[cause], 1, __ATOMIC_RELAXED); }

  private:
    template <class T>
    T* at(uint64_t offset) const {
        return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(this) + offset);
    }
};

}
