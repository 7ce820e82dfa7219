// Reads what is live out of a table: blocks from their cells, mappings from their regions.
#pragma once
#include <array>
#include <cstdint>

#include "preload/contract/table.h"
#include "userspace/capture/preload/block_groups.h"
#include "userspace/capture/preload/table_file.h"

namespace unfreed {

// The age bucket (index into kAgeBuckets) of every epoch, at one moment.
using EpochAges = std::array<std::uint8_t, UF_EPOCH_MAX + 1>;
EpochAges epoch_ages(std::uint64_t now_seconds);

void read_blocks(const TableFile& table, const EpochAges& ages, BlockGroups& into);
void read_regions(const TableFile& table, const EpochAges& ages, BlockGroups& into);

}  // namespace unfreed
