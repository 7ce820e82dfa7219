// Any words anywhere in a table: reading it must end, within bounds, in a Snapshot whose rules hold.
//
// The input is patches to a small good table: 11 bytes each, an area (one), a word in it (two), its value
// (eight).
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/unit/userspace_capture/snapshot_rules.h"
#include "tests/unit/userspace_capture/table_builder.h"
#include "userspace/capture/preload/table_reader.h"

namespace {

constexpr std::uint64_t kHeap = 0x5500'0000'0000;
constexpr std::uint64_t kAreas[] = {UF_HEADER_OFFSET,
                                    UF_MODULES_OFFSET,
                                    UF_STRINGS_OFFSET,
                                    UF_REGIONS_OFFSET,
                                    UF_DIRECTORY_OFFSET + (kHeap >> UF_DIRECTORY_SHIFT) * 4,
                                    UF_NODES_OFFSET,
                                    UF_COUNTERS_OFFSET,
                                    UF_CHUNKS_OFFSET + (1u << 19),
                                    UF_CHUNKS_OFFSET + (2u << 19) - 4096};
constexpr std::size_t kPatchBytes = 11;
constexpr std::size_t kWords = 4096 / 8;

void fill(unfreed::testing::TableBuilder& table) {
    const std::uint64_t module = table.add_module("/bin/program", 0x1000, 0x9000);
    const std::uint32_t stack = table.add_path(0x1234 | module, UF_FUNCTION_malloc);
    table.add_block(kHeap, 100, stack);
    table.add_block(kHeap + 4096, 1ull << 33, stack);
    table.add_block(kHeap + (1u << 21) - 32, 1ull << 30, stack);
    table.add_region(0x7000'0000, 1 << 20, table.add_path(0x5678 | module, UF_FUNCTION_mmap));
    table.count(0, stack, 3, 300);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const unfreed::TableFile file =
        unfreed::TableFile::create((data[0] & 1) != 0 ? 3 : 5, (data[0] & 2) != 0 ? 4096 : 0, 0);
    unfreed::testing::TableBuilder table(file.descriptor());
    fill(table);
    for (std::size_t at = 1; at + kPatchBytes <= size; at += kPatchBytes) {
        const std::uint64_t area = kAreas[data[at] % std::size(kAreas)];
        const std::size_t word = (data[at + 1] | data[at + 2] << 8) % kWords;
        std::memcpy(table.at<std::uint64_t>(area) + word, data + at + 3, 8);
    }
    unfreed::Snapshot snapshot = unfreed::empty_preload_snapshot();
    snapshot.processes.emplace_back();
    unfreed::append_table(file, 0, 100, snapshot);
    if (!unfreed::testing::broken_rule(snapshot).empty()) std::abort();
    return 0;
}
