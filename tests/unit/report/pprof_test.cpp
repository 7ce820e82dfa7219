// What is written can be read again, and by Go's own tool.
#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/report/difference.h"
#include "userspace/report/filter.h"
#include "userspace/report/text.h"

using namespace unfreed;

namespace {

Profile two_paths() {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/app", 0x400000);
    maker.snapshot.modules[app].build_id = "0123abcd";
    const auto main = maker.call(app, 0x11);
    const auto work = maker.call(app, 0x21);
    maker.sample(maker.path({main, work, maker.function("malloc")}), 3, 300, 10);
    maker.sample(maker.path({main, maker.function("calloc")}), 1, 5000, 3600, 0, 1);
    maker.snapshot.losses.push_back({"blocks not recorded", 7});
    maker.snapshot.notes.emplace_back("a note");
    return maker.profile();
}

// The standard output of a shell command.
std::string output_of(const std::string& command) {
    std::string output;
    FILE* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    char buffer[4096];
    for (std::size_t got = 0; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
        output.append(buffer, got);
    }
    pclose(pipe);
    return output;
}

}  // namespace

TEST_CASE("a profile comes back from its file as it was") {
    const TemporaryFolder folder;
    const Profile written = two_paths();
    write_pprof(written, folder / "p");
    const Profile read = read_pprof(folder / "p");
    CHECK(sample_texts(read) == sample_texts(written));
    CHECK(read.command == written.command);
    CHECK(read.backend == written.backend);
    CHECK(read.processes == written.processes);
    CHECK(read.losses == written.losses);
    CHECK(read.notes == written.notes);
    CHECK(read.sample_bytes == written.sample_bytes);
    CHECK(read.time_nanos == written.time_nanos);
    CHECK(read.duration_nanos == written.duration_nanos);
    REQUIRE(read.mappings.size() == 1);
    CHECK(read.strings[read.mappings[0].file] == "/nowhere/app");
    CHECK(read.strings[read.mappings[0].build_id] == "0123abcd");
    CHECK(read.mappings[0].start == 0x400000);
    CHECK(read.mappings[0].limit == 0x500000);
}

TEST_CASE("the shape of matrices comes back from the file, and can be asked for") {
    const TemporaryFolder folder;
    Profile profile = profile_of({{{"main", "malloc"}, 8}, {{"main", "calloc"}, 9}});
    profile.samples[1].shape = profile.strings.intern("480x640 CV_32FC1");
    write_pprof(profile, folder / "p");
    Profile read = read_pprof(folder / "p");
    CHECK(read.strings[read.samples[1].shape] == "480x640 CV_32FC1");
    Filter filter;
    filter.focus = Pattern("--focus", "640 CV_32F");
    apply(filter, read);
    REQUIRE(read.samples.size() == 1);
    CHECK(path_text(read, read.samples[0]) == "calloc < main");
}

TEST_CASE("a difference is one when it is read again") {
    const TemporaryFolder folder;
    const Profile written =
        difference(profile_of({{{"main", "shrunk"}, 100}}), profile_of({{{"main", "grown"}, 30}}));
    write_pprof(written, folder / "p");
    const Profile read = read_pprof(folder / "p");
    CHECK(read.difference);
    std::ostringstream before, after;
    write_text(written, {}, before);
    write_text(read, {}, after);
    CHECK(after.str() == before.str());
}

TEST_CASE("nothing lost is said and read again") {
    const TemporaryFolder folder;
    write_pprof(profile_of({{{"main", "malloc"}, 8}}), folder / "p");
    const Profile read = read_pprof(folder / "p");
    REQUIRE(read.losses.has_value());
    CHECK(read.losses->empty());
}

TEST_CASE("what is not gzip'd is read too") {
    const TemporaryFolder folder;
    write_pprof(two_paths(), folder / "p.gz");
    output_of("gzip -dc " + folder / "p.gz" + " > " + folder / "p");
    CHECK(sample_texts(read_pprof(folder / "p")) == sample_texts(two_paths()));
}

TEST_CASE("what a filter left out is not in the file") {
    const TemporaryFolder folder;
    Profile profile = two_paths();
    Filter filter;
    filter.domain = "mmap";
    apply(filter, profile);
    write_pprof(profile, folder / "p");
    const Profile read = read_pprof(folder / "p");
    CHECK(read.samples.size() == 1);
    CHECK(read.locations.size() == 2);
    CHECK_FALSE(read.strings.find("malloc").has_value());
}

TEST_CASE("a path that was cut is written with the frames that are kept") {
    const TemporaryFolder folder;
    SnapshotMaker maker;
    maker.snapshot.depth = 2;
    const auto app = maker.module("/nowhere/app", 0);
    maker.sample(maker.path({maker.call(app, 0x11), maker.call(app, 0x21), maker.function("malloc")}), 1, 8);
    const Profile written = maker.profile();
    write_pprof(written, folder / "p");
    CHECK(sample_texts(read_pprof(folder / "p")) == sample_texts(written));
}

TEST_CASE("go tool pprof reads the same totals, paths and labels") {
    if (output_of("go version 2>/dev/null").empty()) {
        WARN("skipped: there is no go");
        return;
    }
    const TemporaryFolder folder;
    write_pprof(two_paths(), folder / "p");
    const std::string pprof = "HOME=" + folder / "" + " go tool pprof -symbolize=none ";
    const auto go = [&](const std::string& options) {
        return output_of(pprof + options + " " + folder / "p 2>&1");
    };

    CHECK_THAT(go("-top -unit=B -nodefraction=0"), Catch::Contains("of 5300B total"));
    CHECK_THAT(go("-top -nodefraction=0 -sample_index=alloc_objects"), Catch::Contains("of 8 total"));
    const std::string traces = go("-traces -unit=B");
    CHECK_THAT(traces, Catch::Contains("Type: inuse_space"));
    CHECK_THAT(traces, Catch::Contains("pid:  100") || Catch::Contains("pid:100"));
    const std::string raw = go("-raw");
    CHECK_THAT(raw, Catch::Contains("alloc_objects/count alloc_space/bytes inuse_objects/count "
                                    "inuse_space/bytes[dflt]"));
    CHECK_THAT(raw, Catch::Contains("6        600          3        300: 1 2 3"));
    CHECK_THAT(raw, Catch::Contains("0123abcd"));
    CHECK_THAT(raw, Catch::Contains("lost: 7 blocks not recorded"));
}

TEST_CASE("go tool pprof takes the shares of a difference from the profile before") {
    if (output_of("go version 2>/dev/null").empty()) {
        WARN("skipped: there is no go");
        return;
    }
    const TemporaryFolder folder;
    write_pprof(difference(profile_of({{{"main", "a"}, 200}}), profile_of({{{"main", "a"}, 300}})),
                folder / "p");
    const std::string top =
        output_of("HOME=" + folder / "" + " go tool pprof -symbolize=none -unit=B -top " + folder / "p 2>&1");
    CHECK_THAT(top, Catch::Contains("100B, 50.00% of 200B total"));
}

TEST_CASE("go tool pprof calls the profile by the command's own file, whichever allocated first") {
    if (output_of("go version 2>/dev/null").empty()) {
        WARN("skipped: there is no go");
        return;
    }
    const TemporaryFolder folder;
    SnapshotMaker maker;
    const auto library = maker.module("/nowhere/lib.so", 0x7000000);
    const auto app = maker.module("/nowhere/app", 0x400000);
    maker.sample(maker.path({maker.call(library, 0x11), maker.function("malloc")}), 1, 8);
    maker.sample(maker.path({maker.call(app, 0x11), maker.function("malloc")}), 1, 8);
    write_pprof(maker.profile(), folder / "p");
    CHECK_THAT(output_of("HOME=" + folder / "" + " go tool pprof -symbolize=none -top " + folder / "p 2>&1"),
               Catch::Contains("File: app"));
}

TEST_CASE("a profile that go tool pprof wrote is read") {
    if (output_of("go version 2>/dev/null").empty()) {
        WARN("skipped: there is no go");
        return;
    }
    const TemporaryFolder folder;
    write_pprof(two_paths(), folder / "p");
    output_of("HOME=" + folder / "" + " go tool pprof -symbolize=none -proto -output=" + folder / "again" +
              " " + folder / "p 2>&1");
    std::vector<std::string> ours = sample_texts(two_paths());
    std::vector<std::string> theirs = sample_texts(read_pprof(folder / "again"));
    std::sort(ours.begin(), ours.end());
    std::sort(theirs.begin(), theirs.end());
    CHECK(theirs == ours);
}
