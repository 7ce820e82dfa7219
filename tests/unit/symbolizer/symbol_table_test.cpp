// Names by symbol tables alone.
#include <catch2/catch.hpp>

#include "tests/unit/symbolizer/sample_places.h"

using Frames = std::vector<std::string>;

TEST_CASE("a stripped library's exported functions are named by .dynsym") {
    const Place method = sample_place("sample_dwarf5.so", "method");
    CHECK(name_one(sample_path("stripped.so"), method.address).frames ==
          Frames{"sample::Box::method(void (*)(char const*, int), int)"});
}

TEST_CASE("a symbol without a size reaches up to the next symbol, and no further") {
    const std::uint64_t start = sample_assembly_address("sample_dwarf5.so");
    const std::string path = sample_path("stripped.so");
    CHECK(name_one(path, start).frames == Frames{"sample_assembly"});
    CHECK(name_one(path, start + 2).frames == Frames{"sample_assembly"});
    CHECK(name_one(path, start + 3).frames == Frames{"sample_assembly_end"});
    CHECK(name_one(path, start + 4).frames != Frames{"sample_assembly"});
}

TEST_CASE("the vdso is named from our own") {
    using namespace unfreed::symbolizer;
    // The names are the same on every x86-64 kernel; where they are is not, so some address of it must have
    // one.
    ModuleInput module;
    module.path = GENERATE("[vdso]", "linux-vdso.so.1");
    std::vector<std::uint64_t> addresses;
    for (std::uint64_t address = 0; address < 0x2000; address += 16) addresses.push_back(address);
    const ModuleNames names = name_addresses(module, addresses, {{}});
    bool found = false;
    for (const Function& function : names.functions)
        found |= function.name.find("clock_gettime") != std::string::npos;
    CHECK(found);
    CHECK_FALSE(names.build_id.empty());
}
