#include "userspace/capture/preload/live_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <unordered_set>
#include <utility>

#include "userspace/capture/preload/epoch_clock.h"
#include "userspace/snapshot/age_bucket.h"

namespace unfreed {
namespace {

std::uint64_t load(const std::byte* at) {
    return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_ACQUIRE);
}

struct Cell {
    std::uint64_t word;
    std::uint32_t stack() const { return word & ((1u << UF_STACK_BITS) - 1); }
    std::uint32_t start() const { return word >> UF_STACK_BITS & ((1u << UF_START_BITS) - 1); }
    std::uint32_t epoch() const { return word >> (UF_STACK_BITS + UF_START_BITS) & UF_EPOCH_MAX; }
    std::uint64_t size() const { return word >> (64 - UF_SIZE_BITS); }
    bool escaped() const { return size() == UF_SIZE_ESCAPE; }
};

// `Sink`: called with each block's cell, its size, and where in the file its cell is.
template <class Sink>
class BlockReader {
  public:
    BlockReader(const TableFile& table, Sink sink)
        : table_(table), sink_(std::move(sink)), chunk_bytes_(UF_CHUNK_BYTES(table.cell_shift())) {}

    void read() {
        const std::uint64_t chunks = std::min(table_.header().chunk_count, UF_CHUNKS);
        if (chunks <= 1) return;
        table_.for_each_data(
            UF_CHUNKS_OFFSET + chunk_bytes_, (chunks - 1) * chunk_bytes_,
            [this](std::uint64_t offset, std::span<const std::byte> bytes) { read_cells(offset, bytes); });
    }

  private:
    void read_cells(std::uint64_t offset, std::span<const std::byte> bytes) {
        for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
            Cell cell{load(&bytes[i])};
            if (cell.word == 0) continue;
            if (offset + i == size_word_at_) continue;  // the size of the block before
            if (is_first_of_chunk(offset + i)) {
                if ((cell.word & 1) != 0 && block_before_is_escaped(offset + i)) continue;
            } else if (cell.size() == 0 && (cell.word & 1) != 0 && i >= 8 &&
                       Cell{load(&bytes[i - 8])}.escaped()) {
                // A size whose cell was not there yet when we passed it looks like an empty block.
                add_escaped(Cell{load(&bytes[i - 8])}, cell.word, offset + i - 8);
                continue;
            }
            if (cell.escaped())
                read_escaped(offset, bytes, i, cell);
            else
                sink_(cell, cell.size(), offset + i);
        }
    }

    void read_escaped(std::uint64_t offset, std::span<const std::byte> bytes, std::size_t i, Cell cell) {
        const std::uint64_t next = offset + i + 8;
        if (is_first_of_chunk(next)) {
            if (const auto chunk = neighbours(next - 8).next)
                add_escaped(cell, load_word(first_cell(*chunk)), offset + i);
            return;
        }
        size_word_at_ = next;
        if (i + 16 > bytes.size()) return add_escaped(cell, load_word(next), offset + i);
        while (true) {
            const std::uint64_t size = load(&bytes[i + 8]);
            const Cell again{load(&bytes[i])};
            if (again.word == cell.word) return add_escaped(cell, size, offset + i);
            cell = again;
            if (!cell.escaped()) break;
        }
        size_word_at_ = 0;
        if (cell.word != 0)
            sink_(cell, cell.size(), offset + i);  // freed meanwhile, and another block is there by now
    }

    // A block at the very end of a chunk has its size at the start of the chunk of the next 512 KiB of
    // addresses, which can be anywhere in the file.
    struct Neighbours {
        std::optional<std::uint32_t> previous, next;
    };

    Neighbours neighbours(std::uint64_t offset) {
        if (neighbours_.empty()) read_directory();
        const std::uint64_t chunk = (offset - UF_CHUNKS_OFFSET) / chunk_bytes_;
        return chunk < neighbours_.size() ? neighbours_[chunk] : Neighbours{};
    }

    void read_directory() {
        neighbours_.resize(std::min(table_.header().chunk_count, UF_CHUNKS));
        std::uint32_t before = 0;
        std::uint64_t before_at = 0;
        table_.for_each_data(UF_DIRECTORY_OFFSET, UF_DIRECTORY_ENTRIES * sizeof(std::uint32_t),
                             [&](std::uint64_t offset, std::span<const std::byte> bytes) {
                                 for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
                                     const std::uint32_t chunk = __atomic_load_n(
                                         reinterpret_cast<const std::uint32_t*>(&bytes[i]), __ATOMIC_ACQUIRE);
                                     if (chunk == 0 || chunk >= neighbours_.size()) continue;
                                     if (before != 0 && before_at + 4 == offset + i) {
                                         neighbours_[before].next = chunk;
                                         neighbours_[chunk].previous = before;
                                     }
                                     before = chunk;
                                     before_at = offset + i;
                                 }
                             });
    }

    bool is_first_of_chunk(std::uint64_t offset) const {
        return (offset - UF_CHUNKS_OFFSET) % chunk_bytes_ == 0;
    }

    std::uint64_t first_cell(std::uint64_t chunk) const { return UF_CHUNKS_OFFSET + chunk * chunk_bytes_; }

    bool block_before_is_escaped(std::uint64_t offset) {
        const auto previous = neighbours(offset).previous;
        return previous && Cell{load_word(first_cell(*previous + 1) - 8)}.escaped();
    }

    std::uint64_t load_word(std::uint64_t offset) const {
        std::uint64_t word = 0;
        table_.for_each_data(offset, sizeof word, [&](std::uint64_t, std::span<const std::byte> bytes) {
            word = load(bytes.data());
        });
        return word;
    }

    void add_escaped(Cell cell, std::uint64_t size_word, std::uint64_t at) {
        const std::uint64_t size = size_word >> 1;
        // Nothing else than a size of this range is written there: what it is not, it does not count for.
        if ((size_word & 1) != 0 && size >= UF_SIZE_ESCAPE && size < 1ull << UF_ADDRESS_BITS)
            sink_(cell, size, at);
    }

    const TableFile& table_;
    Sink sink_;
    const std::uint64_t chunk_bytes_;
    std::uint64_t size_word_at_ = 0;      // offset of a word that is a size, not a cell
    std::vector<Neighbours> neighbours_;  // by chunk; empty until one is asked for
};

}  // namespace

EpochAges epoch_ages(std::uint64_t now_seconds) {
    EpochAges ages{};
    for (std::uint32_t epoch = 0; epoch <= UF_EPOCH_MAX; ++epoch) {
        // At least: the block may be of the epoch's last moment.
        const std::uint64_t end = epoch_clock::start_seconds(epoch) + epoch_clock::tick_seconds(epoch);
        const std::uint32_t bucket = age_bucket(now_seconds > end ? now_seconds - end : 0);
        ages[epoch] = static_cast<std::uint8_t>(
            std::lower_bound(kAgeBuckets.begin(), kAgeBuckets.end(), bucket) - kAgeBuckets.begin());
    }
    return ages;
}

double sample_weight(std::uint64_t sample_bytes, std::uint64_t size) {
    if (sample_bytes == 0) return 1;
    const auto length = static_cast<double>(std::max<std::uint64_t>(size, 1));
    return -1 / std::expm1(-length / static_cast<double>(sample_bytes));
}

void read_blocks(const TableFile& table, const EpochAges& ages, BlockGroups& into) {
    const std::uint64_t sample_bytes = table.sample_bytes();
    BlockReader(table, [&](Cell cell, std::uint64_t size, std::uint64_t) {
        std::uint64_t objects = 1;
        std::uint64_t bytes = size;
        double variance = 0;
        if (sample_bytes != 0) {
            const double weight = sample_weight(sample_bytes, size);
            objects = static_cast<std::uint64_t>(std::llround(weight * UF_OBJECT_UNIT));
            bytes = static_cast<std::uint64_t>(std::llround(weight * static_cast<double>(size)));
            // What a block adds to the variance of a Horvitz-Thompson estimate, estimated: size² (1 - p) / p²
            variance = static_cast<double>(size) * static_cast<double>(size) * weight * (weight - 1);
        }
        into.add(cell.stack(), ages[cell.epoch()], false, objects, bytes, variance);
    }).read();
}

void visit_blocks(const TableFile& table, const VisitBlock& visit) {
    // Where each chunk's addresses begin; 0: a chunk that came meanwhile.
    std::vector<std::uint64_t> begins(std::min(table.header().chunk_count, UF_CHUNKS));
    table.for_each_data(UF_DIRECTORY_OFFSET, UF_DIRECTORY_ENTRIES * sizeof(std::uint32_t),
                        [&](std::uint64_t offset, std::span<const std::byte> bytes) {
                            for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
                                const std::uint32_t chunk = __atomic_load_n(
                                    reinterpret_cast<const std::uint32_t*>(&bytes[i]), __ATOMIC_ACQUIRE);
                                if (chunk != 0 && chunk < begins.size())
                                    begins[chunk] = (offset + i - UF_DIRECTORY_OFFSET) / sizeof(std::uint32_t)
                                                    << UF_DIRECTORY_SHIFT;
                            }
                        });
    const std::uint64_t chunk_bytes = UF_CHUNK_BYTES(table.cell_shift());
    BlockReader(table, [&](Cell cell, std::uint64_t size, std::uint64_t at) {
        const std::uint64_t chunk = (at - UF_CHUNKS_OFFSET) / chunk_bytes;
        if (chunk >= begins.size() || begins[chunk] == 0) return;
        const std::uint64_t window = (at - UF_CHUNKS_OFFSET) % chunk_bytes / sizeof(std::uint64_t);
        visit(begins[chunk] + (window << table.cell_shift()) + 8 * cell.start(), size, cell.stack());
    }).read();
}

std::vector<uf_region> live_regions(const TableFile& table) {
    const std::uint32_t count = std::min(table.header().region_count, UF_REGIONS);
    std::vector<uf_region> regions = table.copy<uf_region>(UF_REGIONS_OFFSET, count);
    constexpr std::uint64_t kAddresses = 1ull << UF_ADDRESS_BITS;
    std::erase_if(regions, [](const uf_region& region) {
        return region.length == 0 || region.length > kAddresses || region.start > kAddresses - region.length;
    });
    std::sort(regions.begin(), regions.end(),
              [](const uf_region& a, const uf_region& b) { return a.start < b.start; });
    for (std::size_t i = 0; i + 1 < regions.size(); ++i) {
        const std::uint64_t apart = regions[i + 1].start - regions[i].start;
        if (regions[i].length <= apart) continue;
        regions[i].length = apart;
        regions[i].slack = 0;
    }
    std::erase_if(regions, [](const uf_region& region) {
        return region.length == 0 || region.epoch == UF_EPOCH_RESERVED;
    });
    for (uf_region& region : regions) region.stack &= (1u << UF_STACK_BITS) - 1;
    return regions;
}

void read_regions(const TableFile& table, const EpochAges& ages, BlockGroups& into) {
    const std::uint64_t unit = table.sample_bytes() != 0 ? UF_OBJECT_UNIT : 1;
    std::unordered_set<std::uint32_t> blocks;
    for (const uf_region& region : live_regions(table)) {
        const bool is_first_part = region.block == 0 || blocks.insert(region.block).second;
        into.add(region.stack, ages[region.epoch & UF_EPOCH_MAX], true, is_first_part ? unit : 0,
                 region.length - std::min<std::uint64_t>(region.slack, region.length));
    }
}

}  // namespace unfreed
