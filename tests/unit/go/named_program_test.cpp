// Go code through the symbolizer's one door, beside the C code of the same file.
#include <catch2/catch.hpp>
#include <string>

#include "symbolizer/symbolizer.h"
#include "tests/unit/go/programs.h"

namespace {
using namespace unfreed::symbolizer;

ModuleNames names_in(const std::string& name, std::vector<std::uint64_t> addresses) {
    ModuleInput module;
    module.path = unfreed::testing::program(name);
    return name_addresses(module, addresses);
}

}  // namespace

TEST_CASE("a stripped Go program is named with files, lines and inlined calls") {
    const unfreed::testing::OpenProgram seen("pie_stripped");
    const std::uint64_t address = seen.address_of("main.(*finder).scan.func1");
    const auto own = seen.symbols->lookup(address);
    const ModuleNames names = names_in("pie_stripped", {address, 0x10});
    REQUIRE(names.locations.at(0).count == 1);
    const Line& line = names.lines.at(names.locations[0].first);
    CHECK(names.functions.at(line.function).name == "main.(*finder).scan.func1");
    CHECK(names.functions.at(line.function).file == own.back().file);
    CHECK(line.line == own.back().line);
    CHECK(names.has_lines);
    CHECK(names.has_inlines);
    CHECK(names.locations.at(1).reason == Reason::kNoSymbols);
}

TEST_CASE("C code of a cgo program has the names of its symbols") {
    const std::uint64_t address = unfreed::testing::symbol_address("plain", "x_cgo_init");
    REQUIRE(address != 0);
    const ModuleNames names = names_in("plain", {address});
    REQUIRE(names.locations.at(0).count >= 1);
    const Location& location = names.locations[0];
    CHECK(names.functions.at(names.lines.at(location.first + location.count - 1).function).name ==
          "x_cgo_init");
}
