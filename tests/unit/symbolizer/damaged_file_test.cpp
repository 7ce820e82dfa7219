// Damaged files give reasons, not crashes. (The sanitizer build runs this too; tests/fuzz goes further.)
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/unit/symbolizer/sample_places.h"

using namespace unfreed::symbolizer;

namespace {

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

class TemporaryFile {
  public:
    TemporaryFile() : path_((std::filesystem::temp_directory_path() / "unfreed-damaged-XXXXXX").string()) {
        const int descriptor = ::mkstemp(path_.data());
        REQUIRE(descriptor >= 0);
        ::close(descriptor);
    }
    ~TemporaryFile() { std::filesystem::remove(path_); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    const std::string& holding(const std::string& bytes) {
        std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
        return path_;
    }

  private:
    std::string path_;
};

// Every address asked has an answer, and the answer is consistent in itself.
void check_answers(const std::string& path) {
    ModuleInput module;
    module.path = path;
    std::vector<std::uint64_t> addresses;
    for (std::uint64_t address = 0; address < 0x3000; address += 64) addresses.push_back(address);
    addresses.push_back(UINT64_MAX);
    const ModuleNames names = name_addresses(module, addresses, {{}});
    REQUIRE(names.locations.size() == addresses.size());
    for (const Location& location : names.locations) {
        REQUIRE((location.count == 0) == (location.reason != Reason::kNone));
        REQUIRE(location.first + location.count <= names.lines.size());
    }
    for (const Line& line : names.lines) REQUIRE(line.function < names.functions.size());
}

}  // namespace

TEST_CASE("a file cut off anywhere is answered for") {
    const std::string whole = read(sample_path(GENERATE("sample_dwarf5.so", "with_mini.so")));
    TemporaryFile file;
    for (std::size_t part = 0; part < 64; ++part)
        check_answers(file.holding(whole.substr(0, whole.size() * part / 64)));
}

TEST_CASE("a file that lost its section headers is said to be damaged") {
    const std::string whole = read(sample_path("stripped.so"));
    TemporaryFile file;
    const Named named = name_one(file.holding(whole.substr(0, whole.size() / 2)), 0x1100);
    CHECK(named.reason == Reason::kDamaged);
}

TEST_CASE("a file with wrong bytes anywhere is answered for") {
    const std::string whole =
        read(sample_path(GENERATE("sample_dwarf5.so", "sample_dwarf4.so", "with_mini.so")));
    TemporaryFile file;
    std::uint32_t state = 1;
    const auto next = [&] { return state = state * 1664525u + 1013904223u; };
    for (int round = 0; round < 300; ++round) {
        std::string damaged = whole;
        for (int i = 0; i < 20; ++i) damaged[next() % damaged.size()] = static_cast<char>(next() >> 24);
        // The headers are what everything else hangs on.
        damaged[next() % 64] = static_cast<char>(next() >> 24);
        check_answers(file.holding(damaged));
    }
}
