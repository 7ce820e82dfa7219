// Every address without a name says why.
#include <catch2/catch.hpp>

#include "tests/unit/symbolizer/sample_places.h"

using unfreed::symbolizer::ModuleInput;
using unfreed::symbolizer::Reason;

namespace {
Reason reason_of(const std::string& path, std::uint64_t address) {
    const Named named = name_one(path, address);
    CHECK(named.frames.empty());
    return named.reason;
}
}  // namespace

TEST_CASE("the reason says what is wrong with the file") {
    CHECK(reason_of("/nonexistent", 0x1000) == Reason::kNoFile);
    CHECK(reason_of("/bin/sh/nonexistent", 0x1000) == Reason::kNoFile);
    CHECK(reason_of("/", 0x1000) == Reason::kNotElf);
    CHECK(reason_of("/dev/null", 0x1000) == Reason::kNotElf);
    CHECK(reason_of(SAMPLE_SOURCE, 0x1000) == Reason::kNotElf);
}

TEST_CASE("anonymous code is said to be made at run time") {
    CHECK(reason_of("[jit]", 0x1000) == Reason::kJit);
    CHECK(reason_of("", 0x1000) == Reason::kJit);
    CHECK(reason_of("//anon", 0x1000) == Reason::kJit);
}

TEST_CASE("a stripped file is told from one whose symbols do not cover the address") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    CHECK(reason_of(sample_path("stripped.so"), local.address) == Reason::kNoSymbols);
    CHECK(reason_of(sample_path("sample_dwarf5.so"), 0x10) == Reason::kNoSymbolHere);
}

TEST_CASE("a file with another build-id than the one that ran names nothing") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    ModuleInput module;
    module.path =
        sample_path(GENERATE("sample_dwarf5.so", "sample_no_build_id.so", "sample_dwarf5.so (deleted)"));
    module.build_id = "ff";
    const Named named = name_one(module, local.address);
    CHECK(named.frames.empty());
    CHECK(named.reason == Reason::kFileReplaced);
}

TEST_CASE("an address outside of the mapping is not looked up") {
    const Place local = sample_place("sample_dwarf5.so", "local");
    ModuleInput module;
    module.path = sample_path("sample_dwarf5.so");
    module.start = local.address + 1;
    module.end = local.address + 2;
    CHECK(name_one(module, local.address).reason == Reason::kOutsideModule);
    CHECK(name_one(module, local.address + 1).reason == Reason::kNone);
    CHECK(name_one(module, local.address + 2).reason == Reason::kOutsideModule);
}

TEST_CASE("each reason has words, and no name needs none") {
    using unfreed::symbolizer::text;
    CHECK(text(Reason::kNone).empty());
    for (Reason reason :
         {Reason::kNoFile, Reason::kUnreadable, Reason::kFileReplaced, Reason::kNotElf, Reason::kDamaged,
          Reason::kNoSymbols, Reason::kNoSymbolHere, Reason::kJit, Reason::kOutsideModule})
        CHECK_FALSE(text(reason).empty());
}
