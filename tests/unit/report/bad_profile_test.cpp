// Files that are no whole profile, and places where none can be written: one line that says which.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <iterator>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/error.h"

using namespace unfreed;

namespace {

std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

std::string error_of(const std::string& path) {
    try {
        read_pprof(path);
    } catch (const Error& error) {
        CHECK(error.exit_code == kExitUnfreedFailed);
        return error.what();
    }
    return "none";
}

const std::string& gzipped() {
    static const std::string bytes = [] {
        const TemporaryFolder folder;
        write_pprof(profile_of({{{"main", "work", "malloc"}, 100}, {{"main", "calloc"}, 7}}), folder / "p");
        return content(folder / "p");
    }();
    return bytes;
}

}  // namespace

TEST_CASE("a profile cut at any byte is never taken for a whole one") {
    const TemporaryFolder folder;
    for (std::size_t size = 20; size < gzipped().size(); ++size) {
        put(folder / "cut", gzipped().substr(0, size));
        CHECK_THAT(error_of(folder / "cut"), Catch::Contains("truncated"));
    }
}

TEST_CASE("a damaged byte is noticed") {
    const TemporaryFolder folder;
    for (std::size_t at = 20; at + 8 < gzipped().size(); at += 7) {
        std::string bytes = gzipped();
        bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
        put(folder / "bad", bytes);
        CHECK_THAT(error_of(folder / "bad"), Catch::Contains("corrupt") || Catch::Contains("truncated") ||
                                                 Catch::Contains("not a memory profile"));
    }
}

TEST_CASE("a file of another kind is called foreign") {
    const TemporaryFolder folder;
    put(folder / "empty", "");
    put(folder / "text", "total 12\ndrwxr-xr-x 2 root root 4096 Nov 21 13:03 .\n");
    put(folder / "elf", std::string("\x7f"
                                    "ELF\2\1\1\0\0\0\0\0\0\0\0\0",
                                    16));
    for (const char* const name : {"empty", "text", "elf"}) {
        CHECK_THAT(error_of(folder / name), Catch::Contains("not a memory profile"));
    }
}

TEST_CASE("a profile of something else than memory is called foreign and says what it is") {
    const TemporaryFolder folder;
    // sample_type {type: 1 unit: 2}, string_table "", "cpu", "nanoseconds"
    put(folder / "cpu", std::string("\x0a\x04\x08\x01\x10\x02\x32\x00\x32\x03"
                                    "cpu\x32\x0bnanoseconds",
                                    26));
    CHECK_THAT(error_of(folder / "cpu"), Catch::Contains("its values are cpu"));
}

TEST_CASE("what is referred to but not there is corruption") {
    const TemporaryFolder folder;
    const std::string type("\x0a\x04\x08\x01\x10\x02", 6);
    const std::string strings(
        "\x32\x00\x32\x05space\x32\x05"
        "bytes",
        16);
    put(folder / "good", type + strings);
    CHECK(error_of(folder / "good") == "none");
    put(folder / "location", type + strings + std::string("\x12\x04\x08\x09\x10\x01", 6));
    CHECK_THAT(error_of(folder / "location"), Catch::Contains("a location that is not there"));
    put(folder / "function", type + strings + std::string("\x22\x06\x08\x01\x22\x02\x08\x05", 8));
    CHECK_THAT(error_of(folder / "function"), Catch::Contains("a function that is not there"));
    put(folder / "string", type + strings + std::string("\x2a\x04\x08\x01\x10\x63", 6));
    CHECK_THAT(error_of(folder / "string"), Catch::Contains("a string that is not there"));
    put(folder / "values", type + strings + std::string("\x12\x04\x12\x02\x01\x02", 6));
    CHECK_THAT(error_of(folder / "values"), Catch::Contains("a value for each type"));
}

TEST_CASE("a missing file and a folder are said to be that") {
    const TemporaryFolder folder;
    CHECK_THAT(error_of(folder / "none"), Catch::Contains("No such file"));
    CHECK_THAT(error_of(folder / ""), Catch::Contains("cannot be read"));
}

TEST_CASE("a place that cannot be written is known before anything is") {
    const TemporaryFolder folder;
    CHECK_THROWS_WITH(check_writable(folder / "none/p"), Catch::Contains("cannot be written"));
    CHECK_THROWS_WITH(check_writable(folder / ""), Catch::Contains("is a folder"));
    check_writable(folder / "p");
    CHECK_FALSE(std::filesystem::exists(folder / "p"));
    put(folder / "p", "old");
    check_writable(folder / "p");
    CHECK(content(folder / "p") == "old");
}

TEST_CASE("a disk that fills up leaves the old file and nothing else") {
    const TemporaryFolder folder;
    put(folder / "p", "old");
    const Profile profile = profile_of({{{"main", "work", "malloc"}, 100}});
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    rlimit small = before;
    small.rlim_cur = 16;
    auto* const handler = std::signal(SIGXFSZ, SIG_IGN);  // the write fails with EFBIG instead
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::string error = "none";
    try {
        write_pprof(profile, folder / "p");
    } catch (const Error& e) {
        error = e.what();
    }
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK_THAT(error, Catch::Contains("writing failed"));
    CHECK(content(folder / "p") == "old");
    CHECK(std::distance(std::filesystem::directory_iterator(folder / ""), {}) == 1);
}

TEST_CASE("a device is written in place") {
    CHECK_THROWS_WITH(write_pprof(profile_of({{{"main", "malloc"}, 1}}), "/dev/full"),
                      Catch::Contains("No space left"));
    write_pprof(profile_of({{{"main", "malloc"}, 1}}), "/dev/null");
    CHECK(std::filesystem::is_character_file("/dev/null"));
}

TEST_CASE("a symbolic link stays one when its file is replaced") {
    const TemporaryFolder folder;
    put(folder / "p", "old");
    std::filesystem::create_symlink("p", folder / "link");
    write_pprof(profile_of({{{"main", "malloc"}, 1}}), folder / "link");
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(read_pprof(folder / "p").samples.size() == 1);
}
