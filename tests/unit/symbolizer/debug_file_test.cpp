// Where names come from when the file itself was stripped.
#include <catch2/catch.hpp>

#include "tests/unit/symbolizer/sample_places.h"

using unfreed::symbolizer::ModuleInput;
using unfreed::symbolizer::Options;
using unfreed::symbolizer::Reason;

namespace {
const Options kDebugRoot{{sample_path("debug_root")}};

std::string local_with_line(const Place& local) {
    return "sample::(anonymous namespace)::local(void (*)(char const*, int)) sample.cpp:" +
           std::to_string(local.line);
}
}  // namespace

TEST_CASE("a debug file is found by build-id") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    CHECK(name_one(sample_path("stripped.so"), local.address, kDebugRoot).frames ==
          std::vector{local_with_line(local)});
}

TEST_CASE("a debug file names a module that is itself gone or replaced") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    ModuleInput module;
    module.path = GENERATE("/nonexistent/libsample.so", "/proc/self/exe");
    module.build_id = SAMPLE_BUILD_ID;
    CHECK(name_one(module, local.address, kDebugRoot).frames == std::vector{local_with_line(local)});
}

TEST_CASE("a debug file is found by .gnu_debuglink beside the file") {
    const Place local = sample_place("sample_no_build_id.so", "local");
    CHECK(name_one(sample_path("linked/stripped.so"), local.address).frames ==
          std::vector{local_with_line(local)});
}

TEST_CASE("a debuglink to a file with another CRC is not believed") {
    const Place local = sample_place("sample_no_build_id.so", "local");
    const Named named = name_one(sample_path("linked_wrong/stripped.so"), local.address);
    CHECK(named.frames.empty());
    CHECK(named.reason == Reason::kNoSymbols);
}

TEST_CASE(".gnu_debugdata names the functions that .dynsym lacks") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    CHECK(name_one(sample_path("with_mini.so"), local.address).frames ==
          std::vector<std::string>{"sample::(anonymous namespace)::local(void (*)(char const*, int))"});
}

TEST_CASE("a deleted file is read through the path that still leads to it") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    ModuleInput module;
    module.path = "/nonexistent/libsample.so (deleted)";
    module.open_path = sample_path("sample_dwarf5.so");
    module.build_id = SAMPLE_BUILD_ID;
    CHECK(name_one(module, local.address).frames == std::vector{local_with_line(local)});
}

TEST_CASE("build-ids are read in lower-case hex") {
    CHECK(unfreed::symbolizer::build_id_of(sample_path("stripped.so")) == SAMPLE_BUILD_ID);
    CHECK(unfreed::symbolizer::build_id_of(sample_path("sample_no_build_id.so")).empty());
    CHECK(unfreed::symbolizer::build_id_of("/nonexistent").empty());
}
