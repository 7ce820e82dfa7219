// Reads what is live out of a table: blocks from their cells, mappings from their regions.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "preload/contract/table.h"
#include "userspace/capture/preload/block_groups.h"
#include "userspace/capture/preload/table_file.h"

namespace unfreed {

// The age bucket (index into kAgeBuckets) of every epoch, at one moment.
using EpochAges = std::array<std::uint8_t, UF_EPOCH_MAX + 1>;
EpochAges epoch_ages(std::uint64_t now_seconds);

void read_blocks(const TableFile& table, const EpochAges& ages, BlockGroups& into);
void read_regions(const TableFile& table, const EpochAges& ages, BlockGroups& into);

// The same one by one, with their addresses.
using VisitBlock = std::function<void(std::uint64_t address, std::uint64_t size, std::uint32_t stack)>;
void visit_blocks(const TableFile& table, const VisitBlock& visit);
std::vector<uf_region> live_regions(
    const TableFile& table);  // sorted, apart; without those that only reserve

// How many blocks of this size one that was sampled stands for: the chance that Poisson sampling by bytes met
// it, turned over.
double sample_weight(std::uint64_t sample_bytes, std::uint64_t size);

}  // namespace unfreed
