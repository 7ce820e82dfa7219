// Which samples pass.
#include "userspace/report/filter.h"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/error.h"

using namespace unfreed;

namespace {

std::vector<std::int64_t> bytes_left(const Filter& filter) {
    Profile profile = profile_of({{{"main", "parse", "malloc"}, 1, 100, 0},
                                  {{"main", "draw", "malloc"}, 2, 100, 60},
                                  {{"main", "draw", "parse", "calloc"}, 4, 200, 3600}});
    apply(filter, profile);
    std::vector<std::int64_t> bytes;
    for (const Profile::Sample& sample : profile.samples) {
        bytes.push_back(sample.values[3]);
    }
    return bytes;
}

using Bytes = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("focus keeps paths with a matching frame anywhere") {
    Filter filter;
    filter.focus.emplace("--focus", "^pars");
    CHECK(bytes_left(filter) == Bytes{1, 4});
}

TEST_CASE("ignore drops paths with a matching frame anywhere") {
    Filter filter;
    filter.ignore.emplace("--ignore", "draw|calloc");
    CHECK(bytes_left(filter) == Bytes{1});
}

TEST_CASE("focus matches files and modules too") {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/libparse.so", 0);
    maker.sample(maker.path({maker.call(app, 0x11), maker.function("malloc")}), 1, 8);
    maker.sample(maker.path({maker.function("calloc")}), 1, 16);
    Profile profile = maker.profile();
    Filter filter;
    filter.focus.emplace("--focus", "^/nowhere/");
    apply(filter, profile);
    REQUIRE(profile.samples.size() == 1);
    CHECK(profile.samples[0].values[3] == 8);
}

TEST_CASE("a frame that depth cut off matches nothing") {
    SnapshotMaker maker;
    maker.snapshot.depth = 2;
    maker.sample(maker.path({maker.function("main"), maker.function("work"), maker.function("malloc")}), 1,
                 8);
    Profile profile = maker.profile();
    Filter filter;
    filter.focus.emplace("--focus", "main");
    apply(filter, profile);
    CHECK(profile.samples.empty());
}

TEST_CASE("pid, domain and least age") {
    Filter by_pid;
    by_pid.pid = 200;
    CHECK(bytes_left(by_pid) == Bytes{4});
    Filter by_age;
    by_age.min_age = 60;
    CHECK(bytes_left(by_age) == Bytes{2, 4});
    Filter by_domain;
    by_domain.domain = "mmap";
    CHECK(bytes_left(by_domain).empty());
}

TEST_CASE("an expression that is none is an error of the command line") {
    try {
        const Pattern pattern("--focus", "(");
        FAIL("it was taken");
    } catch (const Error& error) {
        CHECK(error.exit_code == kExitUsage);
        CHECK_THAT(error.what(), Catch::StartsWith("--focus (: "));
    }
}

TEST_CASE("a filter that nothing passes says why, and what there is") {
    const auto emptied = [](const std::function<void(Filter&)>& set) {
        Profile profile = profile_of({{{"main", "malloc"}, 1, 100, 10}, {{"main", "malloc"}, 2, 200, 60}});
        Filter filter;
        set(filter);
        const std::optional<Error> error = apply(filter, profile);
        CHECK(profile.samples.empty() == error.has_value());
        return error ? std::string(error->what()) : "";
    };
    CHECK(emptied([](Filter& f) { f.pid = 7; }) ==
          "--pid 7: no such process in the profile; it has 100 app, 200 app");
    CHECK(emptied([](Filter& f) { f.domain = "opencv"; }) ==
          "--domain opencv: no such memory in the profile; it has malloc");
    CHECK(emptied([](Filter& f) { f.min_age = 3600; }) ==
          "--min-age 3600: nothing is surely that old; the oldest is 60 s or more");
    CHECK_THAT(emptied([](Filter& f) { f.focus.emplace("--focus", "nowhere"); }),
               Catch::StartsWith("--focus nowhere: no function"));
    CHECK_THAT(emptied([](Filter& f) { f.ignore.emplace("--ignore", "."); }),
               Catch::StartsWith("--ignore .: every call path matches"));
    CHECK(emptied([](Filter& f) { f.pid = 100; }).empty());
}

TEST_CASE("of an empty profile no filter is to blame") {
    Profile profile = profile_of({});
    Filter filter;
    filter.pid = 7;
    CHECK(!apply(filter, profile));
}
