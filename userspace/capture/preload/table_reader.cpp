#include "userspace/capture/preload/table_reader.h"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "userspace/capture/preload/block_groups.h"
#include "userspace/capture/preload/call_paths.h"
#include "userspace/capture/preload/live_blocks.h"
#include "userspace/snapshot/age_bucket.h"

namespace unfreed {
namespace {

constexpr std::array kDomains{"malloc", "mmap", "opencv"};
enum Domain : std::uint32_t { kDomain_malloc, kDomain_mmap, kDomain_opencv };

struct FunctionFacts {
    const char* symbol;
    Domain domain;
};
constexpr std::array<FunctionFacts, UF_FUNCTION_COUNT> kFunctions{{
    {"an unknown function", kDomain_malloc},
#define UF_ALLOCATES(identifier, symbol, domain) {#symbol, kDomain_##domain},
#define UF_FREES(identifier, symbol, domain) {#symbol, kDomain_##domain},
#include "preload/contract/functions.def"
#undef UF_ALLOCATES
#undef UF_FREES
}};

constexpr std::array<const char*, UF_LOSS_COUNT> kLosses{
#define UF_LOSS(identifier, text) text,
#include "preload/contract/losses.def"
#undef UF_LOSS
};
constexpr const char* kScribbled = "entries skipped: the program wrote over unfreed's own table";

std::string readable(const char* symbol) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(symbol, nullptr, nullptr, &status), &std::free);
    return name ? name.get() : symbol;
}

std::string hex(const std::uint8_t* bytes, std::size_t count) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text += kDigits[bytes[i] >> 4];
        text += kDigits[bytes[i] & 15];
    }
    return text;
}

// Where each module of the table is in the Snapshot.
std::vector<ModuleIndex> append_modules(const TableFile& table, ProcessIndex process, Snapshot& into) {
    const uf_header header = table.header();
    const std::vector<uf_module> records =
        table.copy<uf_module>(UF_MODULES_OFFSET, std::min(header.module_count, UF_MODULES));
    const std::vector<char> strings =
        table.copy<char>(UF_STRINGS_OFFSET, std::min(table.header().string_bytes, UF_STRING_BYTES));
    std::vector<ModuleIndex> places(records.size(), kNone);
    for (std::size_t i = 0; i < records.size(); ++i) {
        const uf_module& record = records[i];
        if (record.start >= record.end || record.path > strings.size() ||
            record.path_bytes > strings.size() - record.path ||
            record.build_id_bytes > sizeof record.build_id) {
            count_loss(into, kScribbled, 1);
            continue;
        }
        places[i] = static_cast<ModuleIndex>(into.modules.size());
        Module module;
        module.process = process;
        module.path.assign(strings.data() + record.path, record.path_bytes);
        module.build_id = hex(record.build_id, record.build_id_bytes);
        module.start = record.start;
        module.end = record.end;
        module.bias = record.bias;
        into.modules.push_back(std::move(module));
    }
    return places;
}

struct Total {
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
};

// Allocations ever, by node of the table.
std::vector<Total> read_totals(const TableFile& table) {
    const uf_header header = table.header();
    const std::uint32_t nodes = std::min(header.node_count, UF_NODES);
    std::vector<Total> totals;
    for (std::uint64_t slot = 0; slot < std::min(header.counter_slots, UF_COUNTER_SLOTS); ++slot) {
        const std::uint64_t array = UF_COUNTERS_OFFSET + slot * UF_NODES * sizeof(uf_counter);
        table.for_each_data(array, nodes * sizeof(uf_counter), [&](std::uint64_t offset, auto bytes) {
            const auto* counters = reinterpret_cast<const uf_counter*>(bytes.data());
            const std::size_t first = (offset - array) / sizeof(uf_counter);
            const std::size_t count = bytes.size() / sizeof(uf_counter);
            if (totals.size() < first + count) totals.resize(first + count);
            for (std::size_t i = 0; i < count; ++i) {
                totals[first + i].objects += __atomic_load_n(&counters[i].objects, __ATOMIC_RELAXED);
                totals[first + i].bytes += __atomic_load_n(&counters[i].bytes, __ATOMIC_RELAXED);
            }
        });
    }
    return totals;
}

// Oldest first within a stack, for the stack's totals go on the first.
std::vector<BlockGroup> read_live(const TableFile& table, std::uint64_t now_seconds) {
    const EpochAges ages = epoch_ages(now_seconds);
    BlockGroups groups;
    read_blocks(table, ages, groups);
    read_regions(table, ages, groups);
    std::vector<BlockGroup> live = groups.take();
    std::sort(live.begin(), live.end(), [](const BlockGroup& a, const BlockGroup& b) {
        if (a.stack != b.stack) return a.stack < b.stack;
        if (a.age_bucket != b.age_bucket) return a.age_bucket > b.age_bucket;
        return a.mapping < b.mapping;
    });
    return live;
}

class SampleWriter {
  public:
    SampleWriter(CallPaths& paths, ProcessIndex process, bool sampled, Snapshot& into)
        : paths_(paths), process_(process), unit_(sampled ? UF_OBJECT_UNIT : 1), into_(into) {}

    void write(const BlockGroup& live, Total ever) {
        Sample sample;
        const std::uint32_t leaf = paths_.leaf_of(live.stack);
        sample.stack = paths_.take_over(leaf);
        sample.process = process_;
        sample.shape = paths_.shape_of(live.stack);
        // Memory of a matrix is OpenCV's, also where OpenCV was given another allocator (numpy's).
        sample.domain = live.mapping        ? kDomain_mmap
                        : sample.shape != 0 ? kDomain_opencv
                                            : kFunctions[paths_.function_of(leaf)].domain;
        sample.age = kAgeBuckets[live.age_bucket];
        sample.alloc_objects = whole(ever.objects);
        sample.alloc_bytes = static_cast<std::int64_t>(ever.bytes);
        sample.inuse_objects = whole(live.objects);
        sample.inuse_bytes = static_cast<std::int64_t>(live.bytes);
        sample.inuse_error = std::llround(std::sqrt(live.variance));
        into_.samples.push_back(sample);
    }

  private:
    std::int64_t whole(std::uint64_t objects) const {
        return static_cast<std::int64_t>((objects + unit_ / 2) / unit_);
    }

    CallPaths& paths_;
    ProcessIndex process_;
    std::uint64_t unit_;
    Snapshot& into_;
};

}  // namespace

Snapshot empty_preload_snapshot() {
    Snapshot snapshot;
    snapshot.backend = "preload";
    for (const FunctionFacts& function : kFunctions) snapshot.functions.push_back(readable(function.symbol));
    snapshot.domains.assign(kDomains.begin(), kDomains.end());
    return snapshot;
}

void visit_table(const TableFile& table, const Backend::VisitBlock& visit) {
    const std::vector<uf_node> nodes =
        table.copy<uf_node>(UF_NODES_OFFSET, std::min(table.header().node_count, UF_NODES));
    visit_blocks(table, [&](std::uint64_t address, std::uint64_t size, std::uint32_t stack) {
        const std::uint64_t pc = stack < nodes.size() ? nodes[stack].pc : 0;  // UF_FUNCTION_NONE
        const Domain domain = pc >= UF_PC_EXTENT ? kDomain_opencv             // it has a shape
                                                 : kFunctions[pc < kFunctions.size() ? pc : 0].domain;
        visit({address, size, sample_weight(table.sample_bytes(), size), domain});
    });
}

void count_loss(Snapshot& snapshot, const std::string& cause, std::uint64_t count) {
    if (count == 0) return;
    const auto known = std::find_if(snapshot.losses.begin(), snapshot.losses.end(),
                                    [&](const Loss& loss) { return loss.cause == cause; });
    if (known != snapshot.losses.end())
        known->count += count;
    else
        snapshot.losses.push_back({cause, count});
}

// The cause and, of programs that the shim could not follow into, their names.
std::string cause_in(const TableFile& table, std::size_t cause) {
    std::string text = kLosses[cause];
    if (cause != UF_LOSS_program_without_shim) return text;
    using Name = std::array<char, UF_PROGRAM_BYTES>;
    for (const Name& name : table.copy<Name>(UF_PROGRAMS_OFFSET, UF_PROGRAMS))
        if (name[0] != 0)
            text.append(text == kLosses[cause] ? ": " : ", ")
                .append(name.data(), strnlen(name.data(), name.size()));
    return text;
}

void append_table(const TableFile& table, ProcessIndex process, std::uint64_t now_seconds, Snapshot& into) {
    // 1. What refers: live blocks, then what was ever allocated.
    const std::vector<BlockGroup> live = read_live(table, now_seconds);
    std::vector<Total> totals = read_totals(table);

    // 2. What is referred to: call paths, then modules.
    std::vector<uf_node> nodes =
        table.copy<uf_node>(UF_NODES_OFFSET, std::min(table.header().node_count, UF_NODES));
    std::vector<ModuleIndex> modules = append_modules(table, process, into);
    totals.resize(nodes.size());
    CallPaths paths(std::move(nodes), std::move(modules), into);

    // 3. A sample for every group, and one for every other stack that something was ever allocated from.
    SampleWriter writer(paths, process, table.sample_bytes() != 0, into);
    for (const BlockGroup& group : live) {
        Total ever;
        if (group.stack < totals.size()) std::swap(ever, totals[group.stack]);
        writer.write(group, ever);
    }
    for (std::size_t stack = 0; stack < totals.size(); ++stack) {
        if (totals[stack].objects == 0 && totals[stack].bytes == 0) continue;
        BlockGroup none;
        none.stack = static_cast<std::uint32_t>(stack);
        writer.write(none, totals[stack]);
    }

    for (const uf_region& region : live_regions(table))
        into.mappings.push_back({process, paths.take_over(region.stack), region.start, region.length});

    // 4. What was missed.
    const uf_header header = table.header();
    for (std::size_t cause = 0; cause < kLosses.size(); ++cause)
        if (header.loss[cause] != 0) count_loss(into, cause_in(table, cause), header.loss[cause]);
    count_loss(into, kScribbled, paths.broken());
}

}  // namespace unfreed
