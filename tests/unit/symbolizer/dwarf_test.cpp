// Names, lines and inlined frames by DWARF.
#include <catch2/catch.hpp>

#include "tests/unit/symbolizer/sample_places.h"

using Frames = std::vector<std::string>;

namespace {
std::string at(const std::string& function, std::uint32_t line) {
    return function + " sample.cpp:" + std::to_string(line);
}
}  // namespace

TEST_CASE("an address gets its function, file and line") {
    const auto library =
        GENERATE("sample_dwarf5.so", "sample_dwarf4.so", "sample_split.so", "sample_no_aranges.so");
    CAPTURE(library);
    const Place plain = sample_place(library, "plain");
    CHECK(name_one(sample_path(library), plain.address).frames == Frames{at("sample_run", plain.line)});
    const Place method = sample_place(library, "method");
    CHECK(name_one(sample_path(library), method.address).frames ==
          Frames{at("sample::Box::method(void (*)(char const*, int), int)", method.line)});
}

TEST_CASE(
    "inlined functions are frames of their own, innermost first, each with the line it was called from") {
    const auto library =
        GENERATE("sample_dwarf5.so", "sample_dwarf4.so", "sample_split.so", "sample_no_aranges.so");
    CAPTURE(library);
    const Place innermost = sample_place(library, "innermost");
    CHECK(name_one(sample_path(library), innermost.address).frames ==
          Frames{at("sample::(anonymous namespace)::innermost", innermost.line),
                 at("sample::(anonymous namespace)::middle", line_with("sample.middle")),
                 at("sample::outer(void (*)(char const*, int))", line_with("sample.outer"))});
}

TEST_CASE("a static function has its linker name, parameters and all, where the symbol table has it") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    CHECK(name_one(sample_path("sample_dwarf5.so"), local.address).frames ==
          Frames{at("sample::(anonymous namespace)::local(void (*)(char const*, int))", local.line)});
}

TEST_CASE("addresses may come in any order, repeated, and from a process with a load bias") {
    using namespace unfreed::symbolizer;
    const Place plain = sample_place("sample_dwarf5.so", "plain");
    const Place local = sample_place("sample_dwarf5.so", "local");
    ModuleInput module;
    module.path = sample_path("sample_dwarf5.so");
    module.bias = 0x7f0000000000;
    const std::uint64_t p = plain.address + module.bias;
    const std::uint64_t l = local.address + module.bias;
    const std::uint64_t addresses[] = {p, l, p, l, p};
    const ModuleNames names = name_addresses(module, addresses, {{}});
    REQUIRE(names.locations.size() == 5);
    const auto function_at = [&](std::size_t i) {
        return names.functions.at(names.lines.at(names.locations[i].first).function).system_name;
    };
    CHECK(function_at(0) == "sample_run");
    CHECK(function_at(2) == "sample_run");
    CHECK(function_at(4) == "sample_run");
    CHECK(function_at(1) == function_at(3));
    CHECK(function_at(1) != "sample_run");
    CHECK(names.functions.size() == 2);
    CHECK(names.has_functions);
    CHECK(names.has_lines);
    CHECK(names.has_inlines);
}

TEST_CASE("functions say where they begin") {
    using namespace unfreed::symbolizer;
    const Place plain = sample_place("sample_dwarf5.so", "plain");
    ModuleInput module;
    module.path = sample_path("sample_dwarf5.so");
    const std::uint64_t addresses[] = {plain.address};
    const ModuleNames names = name_addresses(module, addresses, {{}});
    REQUIRE(names.functions.size() == 1);
    CHECK(names.functions[0].file == SAMPLE_SOURCE);
    CHECK(names.functions[0].start_line == plain.line - 4);
}
