// The reader on files made from the format's definition, in every layout.
#include <libelf.h>

#include <catch2/catch.hpp>
#include <memory>

#include "symbolizer/go/go_symbols.h"
#include "tests/unit/go/go_file_builder.h"

namespace {
using unfreed::symbolizer::go::GoFrame;
using unfreed::symbolizer::go::GoSymbols;
using unfreed::testing::GoFileBuilder;
using Layout = GoFileBuilder::Layout;
constexpr std::uint64_t kText = GoFileBuilder::kText;

// A built file, open.
struct OpenFile {
    explicit OpenFile(GoFileBuilder builder) : OpenFile(builder.build()) {}
    explicit OpenFile(std::string image) : bytes(std::move(image)) {
        elf_version(EV_CURRENT);
        elf.reset(elf_memory(bytes.data(), bytes.size()));
        symbols = GoSymbols::open(elf.get());
    }
    std::vector<GoFrame> lookup(std::uint64_t offset) const { return symbols->lookup(kText + offset); }

    std::string bytes;
    std::unique_ptr<Elf, decltype(&elf_end)> elf{nullptr, elf_end};
    std::optional<GoSymbols> symbols;
};

Layout any_layout() {
    return GENERATE(Layout::kGo12, Layout::kGo116, Layout::kGo118, Layout::kGo120);
}

}  // namespace

TEST_CASE("every layout names functions, files and lines") {
    const Layout layout = any_layout();
    const bool relocated = GENERATE(false, true);
    CAPTURE(static_cast<int>(layout), relocated);
    GoFileBuilder builder(layout);
    if (relocated) builder.relocated();
    const OpenFile file(builder);
    REQUIRE(file.symbols);
    const auto first = file.lookup(0x0f);
    REQUIRE(first.size() == 1);
    CHECK(first[0].function == "main.outer");
    CHECK(first[0].file == "outer.go");
    CHECK(first[0].line == 10);
    const auto last = file.lookup(0x5f);
    REQUIRE(last.size() == 1);
    CHECK(last[0].function == "main.second");
    CHECK(last[0].file == "second.go");
    CHECK(last[0].line == 33);
    CHECK(file.lookup(0x3f).at(0).line == 12);
}

TEST_CASE("an address before the first function or after the last is not Go code") {
    const OpenFile file{GoFileBuilder(any_layout())};
    REQUIRE(file.symbols);
    CHECK(file.symbols->lookup(kText - 1).empty());
    CHECK(file.symbols->lookup(kText + 0x60).empty());
    CHECK(file.symbols->lookup(0).empty());
    CHECK(file.symbols->lookup(UINT64_MAX).empty());
}

TEST_CASE("since Go 1.18 an inlined call is a frame of its own, at the call's line in its caller") {
    const Layout layout = GENERATE(Layout::kGo118, Layout::kGo120);
    const OpenFile file{GoFileBuilder(layout)};
    REQUIRE(file.symbols);
    CHECK(file.symbols->has_inlines());
    const auto frames = file.lookup(0x18);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].function == "main.inner");
    CHECK(frames[0].line == 20);
    CHECK(frames[1].function == "main.outer");
    CHECK(frames[1].line == 10);
    CHECK(file.lookup(0x20).size() == 1);
}

TEST_CASE("since Go 1.20 functions know the line they start on, inlined ones too") {
    const OpenFile file{GoFileBuilder(Layout::kGo120)};
    const auto frames = file.lookup(0x18);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].start_line == 19);
    CHECK(frames[1].start_line == 9);
}

TEST_CASE("without module data there are functions and lines, but no inlined calls") {
    const Layout layout = GENERATE(Layout::kGo118, Layout::kGo120);
    const OpenFile file{GoFileBuilder(layout).without_module_data()};
    REQUIRE(file.symbols);
    CHECK_FALSE(file.symbols->has_inlines());
    const auto frames = file.lookup(0x18);
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].function == "main.outer");
}

TEST_CASE("module data that contradicts the line table is not believed") {
    const OpenFile file{GoFileBuilder(Layout::kGo120).module_data_names_other_text()};
    REQUIRE(file.symbols);
    CHECK_FALSE(file.symbols->has_inlines());
}

TEST_CASE("since Go 1.26 the module data says where the code starts, and inlined calls are in the table") {
    const bool relocated = GENERATE(false, true);
    GoFileBuilder builder = GoFileBuilder(Layout::kGo120).as_go_126();
    if (relocated) builder.relocated();
    const OpenFile with{builder};
    REQUIRE(with.symbols);
    CHECK(with.lookup(0x5f).at(0).function == "main.second");
    const auto frames = with.lookup(0x18);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].function == "main.inner");
    const OpenFile without{builder.without_module_data()};
    CHECK_FALSE(without.symbols);
}

TEST_CASE("a table that the system linker merged into another section is found") {
    const OpenFile file{GoFileBuilder(any_layout()).own_section(false)};
    REQUIRE(file.symbols);
    CHECK(file.lookup(0).at(0).function == "main.outer");
}

TEST_CASE("a file cut off anywhere gives fewer names, never other ones") {
    const std::string whole = GoFileBuilder(any_layout()).build();
    for (std::size_t size = 0; size < whole.size(); size += 5) {
        const OpenFile file(whole.substr(0, size));
        if (!file.symbols) continue;
        for (std::uint64_t at = 0; at < 0x60; at += 8) {
            for (const GoFrame& frame : file.lookup(at)) {
                CAPTURE(size, at, frame.function);
                CHECK((frame.function.empty() || frame.function == "main.outer" ||
                       frame.function == "main.second" || frame.function == "main.inner"));
            }
        }
    }
}
