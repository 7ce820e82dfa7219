// The reader against tables written by hand: what it makes of good ones, exactly, and that it survives bad
// ones.
#include "userspace/capture/preload/table_reader.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/unit/userspace_capture/snapshot_rules.h"
#include "tests/unit/userspace_capture/table_builder.h"
#include "userspace/capture/preload/epoch_clock.h"

using namespace unfreed;
using unfreed::testing::broken_rule;
using unfreed::testing::TableBuilder;

namespace {

constexpr std::uint64_t kHeap = 0x5500'0000'0000;
constexpr std::uint64_t kCode = 0x7f00'0000'1000;

struct Table {
    explicit Table(std::uint32_t cell_shift = 5, std::uint64_t sample_bytes = 0)
        : file(TableFile::create(cell_shift, sample_bytes, 0)), builder(file.descriptor()) {}

    Snapshot read(std::uint64_t now_seconds = 0) {
        Snapshot snapshot = empty_preload_snapshot();
        snapshot.processes.emplace_back();
        append_table(file, 0, now_seconds, snapshot);
        REQUIRE(broken_rule(snapshot) == "");
        return snapshot;
    }

    TableFile file;
    TableBuilder builder;
};

// Innermost frame first.
std::vector<Frame> frames_of(const Snapshot& snapshot, NodeIndex stack) {
    std::vector<Frame> frames;
    for (; stack != 0; stack = snapshot.nodes[stack].caller)
        frames.push_back(snapshot.frames[snapshot.nodes[stack].frame]);
    return frames;
}

const Sample& only_sample(const Snapshot& snapshot) {
    REQUIRE(snapshot.samples.size() == 1);
    return snapshot.samples.front();
}

}  // namespace

TEST_CASE("an empty table gives nothing and loses nothing") {
    const Snapshot snapshot = Table().read();
    CHECK(snapshot.samples.empty());
    CHECK(snapshot.losses.empty());
    CHECK(snapshot.nodes.size() == 1);
}

TEST_CASE("blocks of one call path are added up") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    table.builder.add_block(kHeap, 100, stack);
    table.builder.add_block(kHeap + 0x1010, 28, stack);
    table.builder.add_block(kHeap + (5ull << UF_DIRECTORY_SHIFT), 0, stack);
    const Snapshot snapshot = table.read();
    const Sample& sample = only_sample(snapshot);
    CHECK(sample.inuse_objects == 3);
    CHECK(sample.inuse_bytes == 128);
    CHECK(snapshot.domains[sample.domain] == "malloc");
    const std::vector<Frame> frames = frames_of(snapshot, sample.stack);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].kind == Frame::Kind::kFunction);
    CHECK(snapshot.functions[frames[0].function] == "malloc");
    CHECK(frames[1].kind == Frame::Kind::kReturn);
    CHECK(frames[1].address == kCode);
}

TEST_CASE("functions have readable names and their domain") {
    Table table;
    table.builder.add_block(kHeap, 1, table.builder.add_path(kCode, UF_FUNCTION_new_nothrow));
    table.builder.add_block(kHeap + 64, 2, table.builder.add_path(kCode + 1, UF_FUNCTION_cv_fastMalloc));
    const Snapshot snapshot = table.read();
    REQUIRE(snapshot.samples.size() == 2);
    const auto leaf = [&](const Sample& sample) {
        return snapshot.functions[frames_of(snapshot, sample.stack).front().function];
    };
    CHECK(leaf(snapshot.samples[0]) == "operator new(unsigned long, std::nothrow_t const&)");
    CHECK(snapshot.domains[snapshot.samples[0].domain] == "malloc");
    CHECK(leaf(snapshot.samples[1]) == "cv::fastMalloc(unsigned long)");
    CHECK(snapshot.domains[snapshot.samples[1].domain] == "opencv");
}

TEST_CASE("a block that serves a matrix has its shape, and its leaf is the allocation function") {
    Table table;
    const std::uint32_t leaf = table.builder.add_path(kCode, UF_FUNCTION_cv_fastMalloc);
    const std::uint32_t rows = table.builder.add_node(leaf, UF_PC_EXTENT | 480);
    const std::uint32_t columns = table.builder.add_node(rows, UF_PC_EXTENT | 640);
    const std::uint32_t shape = table.builder.add_node(columns, UF_PC_TYPE | 2 << 16 | 5);
    table.builder.add_block(kHeap, 480 * 640 * 4, shape);
    const Snapshot snapshot = table.read();
    const Sample& sample = only_sample(snapshot);
    CHECK(snapshot.shapes[sample.shape] == "480x640 CV_32FC1");
    const std::vector<Frame> frames = frames_of(snapshot, sample.stack);
    REQUIRE(frames.size() == 2);
    CHECK(snapshot.functions[frames[0].function] == "cv::fastMalloc(unsigned long)");
}

TEST_CASE("memory of a matrix is OpenCV's, whatever allocator it is from") {
    Table table;
    const std::uint32_t leaf = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    const std::uint32_t shape =
        table.builder.add_node(table.builder.add_node(leaf, UF_PC_EXTENT | 3), UF_PC_TYPE | 1 << 16 | 2 << 3);
    table.builder.add_block(kHeap, 9, shape);
    const Snapshot snapshot = table.read();
    CHECK(snapshot.shapes[only_sample(snapshot).shape] == "3 CV_8UC3");
    CHECK(snapshot.domains[only_sample(snapshot).domain] == "opencv");
}

TEST_CASE("outside of a goroutine's stack is where it was created, in the module that its frames are in") {
    Table table;
    const std::uint64_t module = table.builder.add_module("/bin/service", kCode & ~0xfffull, kCode + 0x10000);
    const std::uint32_t creation = table.builder.add_node(0, UF_PC_CREATION | (kCode + 0x20));
    const std::uint32_t goexit = table.builder.add_node(creation, module | kCode);
    table.builder.add_block(kHeap, 9, table.builder.add_node(goexit, UF_FUNCTION_malloc));
    const Snapshot snapshot = table.read();
    const std::vector<Frame> frames = frames_of(snapshot, only_sample(snapshot).stack);
    REQUIRE(frames.size() == 3);
    CHECK(frames[2].kind == Frame::Kind::kCreation);
    CHECK(frames[2].address == kCode + 0x20);
    CHECK(frames[2].module == frames[1].module);
}

TEST_CASE("a shape that makes no sense is none") {
    Table table;
    const std::uint32_t leaf = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    const std::uint64_t dimensions = GENERATE(0u, 2u, 33u, 0xffffffffu);
    const std::uint32_t shape =
        table.builder.add_node(table.builder.add_node(leaf, UF_PC_EXTENT | 3), UF_PC_TYPE | dimensions << 16);
    table.builder.add_block(kHeap, 9, shape);
    const Snapshot snapshot = table.read();
    CHECK(only_sample(snapshot).shape == 0);
    CHECK(only_sample(snapshot).inuse_bytes == 9);
}

TEST_CASE("sizes that a cell has no room for are read from the next cell") {
    const std::uint32_t shift = GENERATE(5u, 3u);
    // At the end of a chunk the next cell is in the chunk of the next 512 KiB of addresses.
    const std::uint64_t offset =
        GENERATE(std::uint64_t{0}, (1ull << UF_DIRECTORY_SHIFT) - 32, (1ull << UF_DIRECTORY_SHIFT) - 8);
    const std::uint64_t size =
        GENERATE(std::uint64_t{UF_SIZE_ESCAPE} - 1, std::uint64_t{UF_SIZE_ESCAPE}, (5ull << 30) + 1);
    Table table(shift);
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    table.builder.add_block(kHeap + offset, size, stack);
    table.builder.add_block(kHeap + (9ull << UF_DIRECTORY_SHIFT), 7, stack);
    const Sample sample = only_sample(table.read());
    CHECK(sample.inuse_objects == 2);
    CHECK(sample.inuse_bytes == static_cast<std::int64_t>(size) + 7);
}

TEST_CASE("a size whose block is not there yet counts for nothing of its own") {
    Table table;
    table.builder.add_path(kCode, UF_FUNCTION_malloc);
    *table.builder.cell(kHeap) = std::uint64_t{UF_SIZE_ESCAPE} << (64 - UF_SIZE_BITS) | 2;
    *table.builder.cell(kHeap + 32) = 0;
    CHECK(table.read().samples.empty());
}

TEST_CASE("blocks 8 bytes apart are told apart at cell shift 3") {
    Table table(3);
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_calloc);
    for (std::uint64_t i = 0; i < 1000; ++i) table.builder.add_block(kHeap + 8 * i, 8, stack);
    const Sample sample = only_sample(table.read());
    CHECK(sample.inuse_objects == 1000);
    CHECK(sample.inuse_bytes == 8000);
}

TEST_CASE("ages fall into buckets, and what was ever allocated stands with the oldest") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    table.builder.add_block(kHeap, 10, stack, 0);
    table.builder.add_block(kHeap + 64, 20, stack, 95);
    table.builder.add_block(kHeap + 128, 40, stack, 99);  // it may have come just now
    table.builder.count(0, stack, 5, 500);
    table.builder.count(3, stack, 2, 50);
    const Snapshot snapshot = table.read(100);
    REQUIRE(snapshot.samples.size() == 3);
    const Sample& oldest = snapshot.samples[0];
    CHECK(oldest.age == 60);
    CHECK(oldest.inuse_bytes == 10);
    CHECK(oldest.alloc_objects == 7);
    CHECK(oldest.alloc_bytes == 550);
    CHECK(snapshot.samples[1].age == 1);
    CHECK(snapshot.samples[1].inuse_bytes == 20);
    CHECK(snapshot.samples[1].alloc_objects == 0);
    CHECK(snapshot.samples[2].age == 0);
    CHECK(snapshot.samples[2].inuse_bytes == 40);
}

TEST_CASE("a call path with nothing outstanding keeps what it ever allocated") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    table.builder.count(1, stack, 9, 900);
    const Sample sample = only_sample(table.read());
    CHECK(sample.alloc_objects == 9);
    CHECK(sample.alloc_bytes == 900);
    CHECK(sample.inuse_objects == 0);
    CHECK(sample.inuse_bytes == 0);
}

TEST_CASE("of two mappings that overlap, the one that starts later owns the overlap") {
    Table table;
    const std::uint32_t first = table.builder.add_path(kCode, UF_FUNCTION_mmap);
    const std::uint32_t second = table.builder.add_path(kCode + 1, UF_FUNCTION_mremap);
    table.builder.add_region(0x10000, 0x8000, first);
    table.builder.add_region(0x14000, 0x4000, second);
    table.builder.add_region(0x90000, 0x1000, first);
    table.builder.add_region(0x50000, 0, second);  // free
    const Snapshot snapshot = table.read();
    REQUIRE(snapshot.samples.size() == 2);
    CHECK(snapshot.samples[0].inuse_bytes == 0x5000);
    CHECK(snapshot.samples[0].inuse_objects == 2);
    CHECK(snapshot.domains[snapshot.samples[0].domain] == "mmap");
    CHECK(snapshot.samples[1].inuse_bytes == 0x4000);
}

TEST_CASE("a mapping that was cut is one block of the bytes that are left, as they were asked for") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_mmap);
    table.builder.count(0, stack, 2, 0x9000);
    table.builder.add_region(0x10000, 0x2000, stack, 0, 1);
    table.builder.add_region(0x14000, 0x4000, stack, 0, 1, 0x234);
    table.builder.add_region(0x30000, 0x1000, stack, 0, 2);
    const Sample sample = only_sample(table.read());
    CHECK(sample.inuse_objects == 2);
    CHECK(sample.inuse_bytes == 0x7000 - 0x234);
}

TEST_CASE("programs that were not followed are a loss with their names") {
    Table table;
    table.builder.header().loss[UF_LOSS_program_without_shim] = 3;
    std::memcpy(table.builder.program(0), "busybox", 8);
    std::memset(table.builder.program(1), 'x', UF_PROGRAM_BYTES);  // no end
    const Snapshot snapshot = table.read();
    REQUIRE(snapshot.losses.size() == 1);
    CHECK(snapshot.losses[0].count == 3);
    CHECK_THAT(snapshot.losses[0].cause, Catch::EndsWith(": busybox, " + std::string(UF_PROGRAM_BYTES, 'x')));
}

TEST_CASE("with sampling a block stands for as many as its chance to be met says") {
    constexpr std::uint64_t kMean = 1024;
    Table table(5, kMean);
    const std::uint32_t small = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    const std::uint32_t large = table.builder.add_path(kCode + 1, UF_FUNCTION_malloc);
    for (std::uint64_t i = 0; i < 1000; ++i) table.builder.add_block(kHeap + 64 * i, 16, small);
    table.builder.add_block(kHeap + (1ull << 30), 1 << 20, large);
    table.builder.count(0, small, 3 * UF_OBJECT_UNIT + UF_OBJECT_UNIT / 2, 77);
    const Snapshot snapshot = table.read();
    REQUIRE(snapshot.samples.size() == 2);
    const double weight = 1 / (1 - std::exp(-16.0 / kMean));
    CHECK(snapshot.samples[0].inuse_objects == Approx(1000 * weight).epsilon(1e-4));
    CHECK(snapshot.samples[0].inuse_bytes == Approx(16000 * weight).epsilon(1e-3));
    CHECK(snapshot.samples[0].alloc_objects == 4);
    CHECK(snapshot.samples[0].alloc_bytes == 77);
    CHECK(snapshot.samples[1].inuse_objects == 1);
    CHECK(snapshot.samples[1].inuse_bytes == 1 << 20);
}

TEST_CASE("modules carry path, build-id and addresses, and frames find theirs") {
    Table table;
    const std::uint64_t program = table.builder.add_module("/bin/program", 0x1000, 0x9000);
    const std::uint64_t library = table.builder.add_module("/lib/library", 0x20000, 0x30000);
    uf_module& record = table.builder.module(1);
    record.bias = 0x20000;
    record.build_id_bytes = 3;
    record.build_id[0] = 0x0a;
    record.build_id[1] = 0xbc;
    record.build_id[2] = 0xff;
    const std::uint32_t outer = table.builder.add_node(0, 0x1234 | program);
    const std::uint32_t inner = table.builder.add_node(outer, 0x20010 | library | UF_PC_EXACT);
    table.builder.add_block(kHeap, 1, table.builder.add_node(inner, UF_FUNCTION_malloc));
    const Snapshot snapshot = table.read();
    REQUIRE(snapshot.modules.size() == 2);
    CHECK(snapshot.modules[1].path == "/lib/library");
    CHECK(snapshot.modules[1].build_id == "0abcff");
    CHECK(snapshot.modules[1].bias == 0x20000);
    const std::vector<Frame> frames = frames_of(snapshot, only_sample(snapshot).stack);
    REQUIRE(frames.size() == 3);
    CHECK(frames[1].kind == Frame::Kind::kExact);
    CHECK(frames[1].address == 0x20010);
    CHECK(frames[1].module == 1);
    CHECK(frames[2].kind == Frame::Kind::kReturn);
    CHECK(frames[2].address == 0x1234);
    CHECK(frames[2].module == 0);
}

TEST_CASE("a shared prefix and a shared pc are held once") {
    Table table;
    const std::uint32_t outer = table.builder.add_node(0, kCode);
    for (std::uint32_t i = 0; i < 3; ++i) {
        const std::uint32_t middle = table.builder.add_node(outer, kCode + 8 + i);
        table.builder.add_block(kHeap + 64 * i, 1, table.builder.add_node(middle, UF_FUNCTION_malloc));
    }
    table.builder.add_node(outer, kCode + 99);  // nothing was allocated there
    const Snapshot snapshot = table.read();
    CHECK(snapshot.nodes.size() == 1 + 1 + 3 + 3);
    CHECK(snapshot.frames.size() == 1 + 3 + 1);
}

// A path whose callers have the higher indices: 1 (malloc), 2, 3, and `outermost`, the caller of that.
static void add_path_backwards(Table& table, std::uint32_t outermost) {
    table.builder.header().node_count = 4;
    table.builder.node(1) = {UF_FUNCTION_malloc, 2, 0, 0, 0};
    table.builder.node(2) = {kCode, 3, 0, 0, 0};
    table.builder.node(3) = {kCode + 8, outermost, 0, 0, 0};
}

TEST_CASE("callers come first even where the table has them later") {
    Table table;
    add_path_backwards(table, 0);
    table.builder.add_block(kHeap, 1, 1);
    const Snapshot snapshot = table.read();
    const std::vector<Frame> frames = frames_of(snapshot, only_sample(snapshot).stack);
    REQUIRE(frames.size() == 3);
    CHECK(frames[2].address == kCode + 8);
    CHECK(snapshot.losses.empty());
}

TEST_CASE("a circle of callers is cut and counted") {
    Table table;
    add_path_backwards(table, 2);
    table.builder.add_block(kHeap, 11, 1);
    const Snapshot snapshot = table.read();
    CHECK(only_sample(snapshot).inuse_bytes == 11);
    CHECK(snapshot.losses.size() == 1);
}

TEST_CASE("a stack that the table does not have is no stack, and counted") {
    Table table;
    table.builder.add_block(kHeap, 11, 77);
    const Snapshot snapshot = table.read();
    CHECK(only_sample(snapshot).stack == 0);
    CHECK(only_sample(snapshot).inuse_bytes == 11);
    CHECK(snapshot.losses.size() == 1);
}

TEST_CASE("losses are told by cause, and added up over processes") {
    Table one, two;
    one.builder.header().loss[UF_LOSS_block_address] = 3;
    two.builder.header().loss[UF_LOSS_block_address] = 4;
    two.builder.header().loss[UF_LOSS_stack_too_deep] = 1;
    Snapshot snapshot = empty_preload_snapshot();
    snapshot.processes.resize(2);
    append_table(one.file, 0, 0, snapshot);
    append_table(two.file, 1, 0, snapshot);
    REQUIRE(snapshot.losses.size() == 2);
    CHECK(snapshot.losses[0].count == 7);
    CHECK(snapshot.losses[1].count == 1);
}

TEST_CASE("several processes share a Snapshot and nothing in it but functions and domains") {
    Table one, two;
    for (Table* table : {&one, &two}) {
        const std::uint64_t module = table->builder.add_module("/bin/same", 0x1000, 0x2000);
        table->builder.add_block(kHeap, 5, table->builder.add_path(0x1100 | module, UF_FUNCTION_malloc));
    }
    Snapshot snapshot = empty_preload_snapshot();
    snapshot.processes.resize(2);
    append_table(one.file, 0, 0, snapshot);
    append_table(two.file, 1, 0, snapshot);
    REQUIRE(broken_rule(snapshot) == "");
    REQUIRE(snapshot.samples.size() == 2);
    CHECK(snapshot.samples[1].process == 1);
    const Frame frame = frames_of(snapshot, snapshot.samples[1].stack)[1];
    CHECK(snapshot.modules[frame.module].process == 1);
}

TEST_CASE("a million blocks over many pages are all met") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    for (std::uint64_t i = 0; i < 1'000'000; ++i) table.builder.add_block(kHeap + 96 * i, 64, stack);
    CHECK(only_sample(table.read()).inuse_objects == 1'000'000);
}

TEST_CASE("reading a table leaves its holes as holes") {
    Table table;
    const std::uint32_t stack = table.builder.add_path(kCode, UF_FUNCTION_malloc);
    table.builder.add_block(kHeap, 1, stack);
    table.builder.header().node_count = UF_NODES;
    table.builder.header().chunk_count = UF_CHUNKS;
    table.builder.header().counter_slots = UF_COUNTER_SLOTS;
    struct stat before {};
    struct stat after {};
    fstat(table.file.descriptor(), &before);
    table.read();
    fstat(table.file.descriptor(), &after);
    CHECK(before.st_blocks == after.st_blocks);
}

TEST_CASE("no count in the header is believed") {
    Table table;
    uf_header& header = table.builder.header();
    table.builder.add_block(kHeap, 1, 5);
    header.cell_shift = 77;
    header.node_count = header.module_count = header.string_bytes = header.region_count = header.chunk_count =
        header.counter_slots = UINT32_MAX;
    const Snapshot snapshot = table.read();
    CHECK(snapshot.samples.size() == 1);
}

TEST_CASE("modules that make no sense are skipped and counted") {
    Table table;
    table.builder.add_module("/good", 0x1000, 0x2000);
    table.builder.add_module("/backwards", 0x2000, 0x1000);
    table.builder.add_module("/path", 0x3000, 0x4000);
    table.builder.module(2).path = UINT32_MAX - 1;
    table.builder.add_module("/length", 0x3000, 0x4000);
    table.builder.module(3).path_bytes = UINT32_MAX;
    table.builder.add_module("/build-id", 0x3000, 0x4000);
    table.builder.module(4).build_id_bytes = 33;
    const Snapshot snapshot = table.read();
    CHECK(snapshot.modules.size() == 1);
    REQUIRE(snapshot.losses.size() == 1);
    CHECK(snapshot.losses[0].count == 4);
}

TEST_CASE("a table that the program wrote over gives a whole Snapshot all the same") {
    std::mt19937_64 random(GENERATE(range(0, 20)));
    Table table(random() % 2 == 0 ? 5 : 3, random() % 2 == 0 ? 0 : 4096);
    const auto scribble = [&](std::uint64_t offset, std::uint64_t bytes) {
        auto* words = table.builder.at<std::uint64_t>(offset);
        for (std::uint64_t i = 0; i < bytes / 8; ++i)
            words[i] = random() % 3 == 0 ? random() % 5000 : random() >> random() % 64;
    };
    scribble(UF_MODULES_OFFSET, 8192);
    scribble(UF_STRINGS_OFFSET, 4096);
    scribble(UF_REGIONS_OFFSET, 16384);
    scribble(UF_DIRECTORY_OFFSET, 4096);
    scribble(UF_NODES_OFFSET, 65536);
    scribble(UF_COUNTERS_OFFSET, 16384);
    scribble(UF_CHUNKS_OFFSET, 3 << UF_DIRECTORY_SHIFT);
    uf_header& header = table.builder.header();
    header.node_count = static_cast<std::uint32_t>(random() % 6000);
    header.module_count = static_cast<std::uint32_t>(random() % 200);
    header.string_bytes = 4096;
    header.region_count = 700;
    header.chunk_count = 9;
    header.counter_slots = 1;
    const Snapshot snapshot = table.read(random() % 100'000);
    CHECK(!snapshot.samples.empty());
}
