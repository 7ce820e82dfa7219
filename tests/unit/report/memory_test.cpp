// The table of where memory is: through the profile's comments, and as text.
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/report/comments.h"
#include "userspace/report/memory_text.h"

namespace {
using namespace unfreed;

constexpr std::uint64_t kMiB = 1u << 20;

MemoryTable small_table() {
    MemoryTable table;
    table.of = "app (100)";
    table.rows = {{"malloc, live, as traced", 3 * kMiB, kMiB, 0}, {"files: in, all: shared", 4096, 0, 0}};
    table.kernel = 4 * kMiB + 4096;
    table.notes = {"something is not known"};
    return table;
}

Profile through_comments(const MemoryTable& table) {
    Profile written, read;
    written.memory = table;
    for (const std::string& comment : comments_of(written)) read_comment(comment, read);
    return read;
}

}  // namespace

TEST_CASE("a memory table comes back from the comments as it was") {
    MemoryTable table = small_table();
    table.processes = {{"app (100)", 5, 6, 0}, {"app (101)", 7, 8, 0}};
    const Profile read = through_comments(table);
    CHECK(read.notes.empty());
    CHECK(read.memory.of == table.of);
    CHECK(read.memory.kernel == table.kernel);
    CHECK(read.memory.notes == table.notes);
    REQUIRE(read.memory.rows.size() == 2);
    CHECK(read.memory.rows[0].name == "malloc, live, as traced");
    CHECK(read.memory.rows[0].resident == 3 * kMiB);
    CHECK(read.memory.rows[0].swapped == kMiB);
    CHECK(read.memory.rows[1].name == "files: in, all: shared");
    REQUIRE(read.memory.processes.size() == 2);
    CHECK(read.memory.processes[1].name == "app (101)");
    CHECK(read.memory.processes[1].swapped == 8);
}

TEST_CASE("a comment that only looks like a row of the memory table is a note") {
    Profile profile;
    read_comment("memory: 12 resident, many swapped: x", profile);
    read_comment("memory: 99999999999999999999999 resident, 0 swapped: x", profile);
    CHECK(profile.memory.rows.empty());
    CHECK(profile.notes.size() == 2);
}

TEST_CASE("a mapping's row is named by the innermost callers of its call path") {
    SnapshotMaker maker;
    const ModuleIndex app = maker.module("/nowhere/app", 0x10000);
    const NodeIndex path = maker.path({maker.call(app, 0x10), maker.call(app, 0x20), maker.function("mmap")});
    maker.sample(path, 1, 4096);
    maker.snapshot.memory.rows = {{"mmap, as traced", 4096, 0, path}, {"thread stacks", 4096, 0, 0}};
    const Profile profile = maker.profile();
    REQUIRE(profile.memory.rows.size() == 2);
    CHECK(profile.memory.rows[0].name.find("mmap, as traced: app+0x1f [") == 0);
    CHECK(profile.memory.rows[0].name.find(" < app+0xf") != std::string::npos);
    CHECK(profile.memory.rows[1].name == "thread stacks");
}

TEST_CASE("the table as text has its sum and how far the kernel's is") {
    std::ostringstream out;
    write_memory(small_table(), out);
    const std::string text = out.str();
    CHECK(text.find("app (100)\n") == 0);
    CHECK(text.find("3.0 MiB     1.0 MiB     4.0 MiB\n") != std::string::npos);
    CHECK(text.find("difference") != std::string::npos);
    CHECK(text.find(" 0.0%\n") != std::string::npos);
    CHECK(text.find("\nsomething is not known\n") != std::string::npos);
}

TEST_CASE("what a table lacks is said where there is none, too") {
    SnapshotMaker maker;
    maker.snapshot.memory.notes = {"app (100) may not be looked at"};
    std::ostringstream out;
    print_summary(maker.profile(), out, {}, 10);
    CHECK(out.str().find("\napp (100) may not be looked at\n") != std::string::npos);
}
