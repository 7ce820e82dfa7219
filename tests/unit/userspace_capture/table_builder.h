// Writes a table as the shim does (preload/contract/table.h), word by word and without its code: so that the
// reader is tested against the contract.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "preload/contract/table.h"

namespace unfreed::testing {

class TableBuilder {
  public:
    // Maps the whole table of `descriptor`, which has its header already.
    explicit TableBuilder(int descriptor) {
        void* at =
            mmap(nullptr, UF_TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
        if (at == MAP_FAILED) throw std::runtime_error("cannot map the table");
        base_ = static_cast<char*>(at);
        header().node_count = 1;
        header().chunk_count = 1;
    }
    ~TableBuilder() { munmap(base_, UF_TABLE_BYTES); }
    TableBuilder(const TableBuilder&) = delete;
    TableBuilder& operator=(const TableBuilder&) = delete;

    uf_header& header() { return *at<uf_header>(UF_HEADER_OFFSET); }
    uf_node& node(std::uint32_t index) { return at<uf_node>(UF_NODES_OFFSET)[index]; }
    char* program(std::uint32_t slot) { return at<char>(UF_PROGRAMS_OFFSET) + slot * UF_PROGRAM_BYTES; }
    uf_region& region(std::uint32_t index) { return at<uf_region>(UF_REGIONS_OFFSET)[index]; }
    uf_module& module(std::uint32_t index) { return at<uf_module>(UF_MODULES_OFFSET)[index]; }
    uf_counter& counter(std::uint32_t slot, std::uint32_t stack) {
        return at<uf_counter>(UF_COUNTERS_OFFSET)[std::uint64_t{slot} * UF_NODES + stack];
    }
    std::uint64_t* cell(std::uint64_t address) {
        std::uint32_t& chunk = at<std::uint32_t>(UF_DIRECTORY_OFFSET)[address >> UF_DIRECTORY_SHIFT];
        if (chunk == 0) chunk = header().chunk_count++;
        const std::uint32_t shift = header().cell_shift;
        const std::uint64_t in_chunk = (address & ((1ull << UF_DIRECTORY_SHIFT) - 1)) >> shift;
        return at<std::uint64_t>(UF_CHUNKS_OFFSET) + (std::uint64_t{chunk} << (UF_DIRECTORY_SHIFT - shift)) +
               in_chunk;
    }
    template <class Record>
    Record* at(std::uint64_t offset) {
        return reinterpret_cast<Record*>(base_ + offset);
    }

    std::uint32_t add_node(std::uint32_t caller, std::uint64_t pc) {
        const std::uint32_t index = header().node_count++;
        node(index).pc = pc;
        node(index).caller = caller;
        return index;
    }
    // A path of one frame and the function that was called from it.
    std::uint32_t add_path(std::uint64_t pc, uf_function function) {
        return add_node(add_node(0, pc), function);
    }

    void add_block(std::uint64_t address, std::uint64_t size, std::uint32_t stack, std::uint32_t epoch = 0) {
        const std::uint32_t shift = header().cell_shift;
        std::uint64_t in_cell = size;
        if (size >= UF_SIZE_ESCAPE) {
            *cell(address + (1ull << shift)) = size << 1 | 1;
            in_cell = UF_SIZE_ESCAPE;
        }
        const std::uint64_t start = (address & ((1ull << shift) - 1)) >> 3;
        *cell(address) = stack | start << UF_STACK_BITS |
                         std::uint64_t{epoch} << (UF_STACK_BITS + UF_START_BITS) |
                         in_cell << (64 - UF_SIZE_BITS);
    }
    void add_region(std::uint64_t start, std::uint64_t length, std::uint32_t stack, std::uint32_t epoch = 0,
                    std::uint32_t block = 0, std::uint32_t slack = 0) {
        region(header().region_count++) = {start, length, stack, epoch, block, slack};
    }
    void count(std::uint32_t slot, std::uint32_t stack, std::uint64_t objects, std::uint64_t bytes) {
        header().counter_slots = std::max(header().counter_slots, slot + 1);
        counter(slot, stack) = {objects, bytes};
    }
    // Returns what a pc has in its bits from UF_PC_MODULE_SHIFT.
    std::uint64_t add_module(const std::string& path, std::uint64_t start, std::uint64_t end) {
        uf_module& record = module(header().module_count++);
        record.start = start;
        record.end = end;
        record.path = header().string_bytes;
        record.path_bytes = static_cast<std::uint32_t>(path.size());
        std::memcpy(at<char>(UF_STRINGS_OFFSET) + record.path, path.data(), path.size());
        header().string_bytes += record.path_bytes;
        return std::uint64_t{header().module_count} << UF_PC_MODULE_SHIFT;
    }

  private:
    char* base_ = nullptr;
};

}  // namespace unfreed::testing
