// glibc's malloc as it is read from a process at rest, against what malloc there says itself.
#include <gnu/libc-version.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <sstream>

#include "tests/unit/rss/quiet_process.h"
#include "userspace/rss/glibc_malloc.h"
#include "userspace/rss/measure.h"

namespace {
using namespace unfreed::rss;
using unfreed::testing::QuietProcess;

struct Books {
    std::uint64_t system = 0, free = 0, cached = 0;
    explicit Books(const std::string& line) { std::istringstream(line) >> system >> free >> cached; }
};

bool is_known_version() {
    const int minor = std::atoi(gnu_get_libc_version() + 2);
    return minor >= 27 && minor <= 41;
}

std::uint64_t of(const Measured& measured, Kind kind) {
    std::uint64_t bytes = 0;
    for (const auto& [part, amount] : measured.parts)
        if (part.kind == kind) bytes += amount.rss + amount.swap;
    return bytes;
}

}  // namespace

TEST_CASE("arenas of a process at rest have what malloc there says: bytes from the kernel, and bytes free") {
    const QuietProcess mix({MALLOC_MIX});
    const Books books(mix.line());
    const LiveProcess process(mix.pid());
    const GlibcMalloc malloc = look_at_glibc_malloc(process, parse_smaps(process.proc_file("smaps")));
    if (!is_known_version()) {
        CHECK(malloc.arenas.empty());
        CHECK(malloc.unknown.find("are not known") != std::string::npos);
        return;
    }
    CHECK(malloc.unknown.empty());
    CHECK(malloc.arenas.size() >= 2);
    std::uint64_t system = 0, free = 0;
    for (const MallocArena& arena : malloc.arenas) {
        system += arena.system_bytes;
        free += arena.listed_bytes + arena.top_bytes;
    }
    CHECK(system == books.system);
    CHECK(free == books.free);
    CHECK(malloc.cached_bytes >= books.cached);
}

TEST_CASE("what malloc has free and what is live add up to its arenas' pages") {
    if (!is_known_version()) return;
    const QuietProcess mix({MALLOC_MIX});
    const Measured measured = measure(mix.pid());
    std::uint64_t sum = 0;
    for (const auto& entry : measured.parts) sum += entry.second.rss + entry.second.swap;
    CHECK(sum > measured.kernel_rss_and_swap / 100 * 98);
    CHECK(sum < measured.kernel_rss_and_swap / 100 * 102);
    CHECK(of(measured, Kind::kMallocFree) > 0);
    CHECK(of(measured, Kind::kMallocFree) <= Books(mix.line()).free);
    CHECK(of(measured, Kind::kMallocLive) > 0);
    CHECK(of(measured, Kind::kMallocArena) == 0);
}

TEST_CASE("traced blocks, malloc's rounding of them and what was there before are told apart") {
    if (!is_known_version()) return;
    const QuietProcess mix({MALLOC_MIX});
    const std::uint64_t live = of(measure(mix.pid()), Kind::kMallocLive);
    Measurement measurement(mix.pid());
    const LiveProcess process(mix.pid());
    for (const Mapping& mapping : parse_smaps(process.proc_file("smaps")))
        if (mapping.name == "[heap]") measurement.add_block(mapping.start + 0x290 + 16, 100, 1, 0);
    const Measured measured = measurement.finish({"malloc"});
    CHECK(of(measured, Kind::kTraced) == 100);
    CHECK(of(measured, Kind::kTracedRounding) == 12);
    CHECK(of(measured, Kind::kMallocUntraced) >= live - 112);
    CHECK(of(measured, Kind::kMallocLive) == 0);
}
