// Real processes at rest: the parts add up to what the kernel says, and Go's are what Go says.
#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "tests/unit/rss/quiet_process.h"
#include "userspace/error.h"
#include "userspace/rss/go_runtime.h"
#include "userspace/rss/go_spans.h"
#include "userspace/rss/measure.h"
#include "userspace/rss/table.h"

namespace {
using namespace unfreed::rss;
using unfreed::testing::QuietProcess;

[[maybe_unused]] constexpr std::uint64_t kMiB = 1u << 20;

[[maybe_unused]] std::uint64_t sum(const Measured& measured) {
    std::uint64_t bytes = 0;
    for (const auto& entry : measured.parts) bytes += entry.second.rss + entry.second.swap;
    return bytes;
}

// A moment at which nothing changed: a runtime may give memory back by itself while it waits.
[[maybe_unused]] Measured measure_at_rest(pid_t pid) {
    Measured before = measure(pid);
    for (int i = 0; i < 100; ++i) {
        Measured after = measure(pid);
        if (sum(before) == sum(after) && before.kernel_rss_and_swap == after.kernel_rss_and_swap)
            return after;
        before = std::move(after);
    }
    return before;
}

[[maybe_unused]] std::uint64_t of(const Measured& measured, Kind kind) {
    std::uint64_t bytes = 0;
    for (const auto& [part, amount] : measured.parts)
        if (part.kind == kind) bytes += amount.rss + amount.swap;
    return bytes;
}

[[maybe_unused]] bool within(std::uint64_t a, std::uint64_t b, double percent) {
    return std::abs(static_cast<double>(a) - static_cast<double>(b)) <=
           static_cast<double>(b) * percent / 100;
}

[[maybe_unused]] std::vector<Mapping> mappings_of(pid_t pid) {
    return parse_smaps(LiveProcess(pid).proc_file("smaps"));
}

}  // namespace

#ifdef PYTHON
TEST_CASE("a python program's parts add up, with its threads' arenas and its large blocks") {
    const QuietProcess python({PYTHON, "-c", R"(
import sys, threading
large = [bytearray(1 << 20) for i in range(64)]
started = threading.Barrier(3)
def work():
    mine = [bytearray(20000) for i in range(500)]
    started.wait()
    end.wait()
end = threading.Event()
threads = [threading.Thread(target=work) for i in range(2)]
for thread in threads: thread.start()
started.wait()
print("quiet", flush=True)
sys.stdin.read()
end.set()
)"});
    const Measured measured = measure_at_rest(python.pid());
    CHECK(within(sum(measured), measured.kernel_rss_and_swap, 2));
    CHECK(of(measured, Kind::kMallocLarge) >= 60 * kMiB);
    CHECK(of(measured, Kind::kMallocLive) + of(measured, Kind::kMallocArena) >= 18 * kMiB);
    CHECK(of(measured, Kind::kThreadStacks) > 0);
    CHECK(of(measured, Kind::kPrivateFiles) > 0);
}
#endif

#ifdef NODE
TEST_CASE("a node program's parts add up") {
    const QuietProcess node({NODE, "-e", "console.log('quiet'); process.stdin.resume()"});
    const Measured measured = measure_at_rest(node.pid());
    CHECK(within(sum(measured), measured.kernel_rss_and_swap, 2));
}
#endif

#ifdef GO_PROGRAMS
TEST_CASE("a Go program's statistics are read as it has them itself") {
    const std::string name = GENERATE("held", "held_pie");
    const QuietProcess go({std::string(GO_PROGRAMS) + "/" + name});
    const GoRuntime seen = look_at_go(LiveProcess(go.pid()), mappings_of(go.pid()));
    REQUIRE(seen.statistics);
    std::uint64_t in_use = 0, idle = 0, released = 0, stacks = 0;
    std::istringstream(go.line()) >> in_use >> idle >> released >> stacks;
    CAPTURE(go.line());
    CHECK(within(seen.statistics->heap_in_use, in_use, 1));
    CHECK(within(seen.statistics->stacks, stacks, 10));
    CHECK(within(seen.statistics->heap_released + seen.statistics->heap_idle, released + idle, 5));
}

TEST_CASE("a Go program's parts add up, spans in use apart from idle ones") {
    const std::string name = GENERATE("held", "held_pie");
    const QuietProcess go({std::string(GO_PROGRAMS) + "/" + name});
    const Measured measured = measure_at_rest(go.pid());
    CHECK(within(sum(measured), measured.kernel_rss_and_swap, 2));
    CHECK(of(measured, Kind::kGoHeapInUse) >= 64 * kMiB);
    CHECK(of(measured, Kind::kGoHeapInUse) <= 72 * kMiB);
    CHECK(of(measured, Kind::kGoStacks) >= 200 * 8192);
    CHECK(of(measured, Kind::kGoMetadata) > 0);
    CHECK(of(measured, Kind::kGoHeap) == 0);
}

TEST_CASE("a stripped Go program's spans are found; what else is not known is said") {
    const QuietProcess go({std::string(GO_PROGRAMS) + "/held_stripped"});
    const Measured measured = measure_at_rest(go.pid());
    CHECK(within(sum(measured), measured.kernel_rss_and_swap, 2));
    REQUIRE(!measured.notes.empty());
    CHECK(measured.notes[0].find("not known: the file has no DWARF") != std::string::npos);
    if (!span_layout(go_version_of(std::string(GO_PROGRAMS) + "/held_stripped"))) {
        CHECK(of(measured, Kind::kGoHeap) >= 64 * kMiB);
        CHECK(of(measured, Kind::kGoHeapInUse) == 0);
        return;
    }
    std::uint64_t in_use = 0;
    std::istringstream(go.line()) >> in_use;
    CHECK(within(of(measured, Kind::kGoHeapInUse), in_use, 5));
    CHECK(of(measured, Kind::kGoStacksAndWork) >= 200 * 8192);
    CHECK(of(measured, Kind::kGoHeap) == 0);
}
#endif

TEST_CASE("a Go version that is not in the table has no layout") {
    CHECK(span_layout("go1.19.8")->state == 99);
    CHECK(span_layout("go1.21")->state == 107);
    CHECK(!span_layout("go1.17.13"));
    CHECK(!span_layout("go1.99"));
    CHECK(!span_layout("devel go1.22-0123456789"));
    CHECK(!span_layout(""));
}

TEST_CASE("pages that a family shares count once in its table") {
    const QuietProcess shell({"/bin/sh", "-c", "echo quiet; read line"});
    const unfreed::MemoryTable both = table({measure(getpid()), measure(shell.pid())});
    CHECK(both.of == "2 processes, shared pages counted once");
    REQUIRE(both.processes.size() == 2);
    CHECK(both.processes[1].name == "sh (" + std::to_string(shell.pid()) + ")");
}

TEST_CASE("a process that is not there is told so") {
    try {
        measure(1 << 30);
        FAIL("measured nothing");
    } catch (const unfreed::Error& error) {
        CHECK(error.exit_code == unfreed::kExitUnfreedFailed);
        CHECK(std::string(error.what()).find("there is none") != std::string::npos);
    }
}
