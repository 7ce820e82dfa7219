#include "symbolizer/unwind/cfi_reader.h"

#include <catch2/catch.hpp>

#include "tests/unit/unwind/frame_builder.h"

namespace {
using namespace unfreed::unwind;
using unfreed::unwind::testing::FrameBuilder;

template <std::size_t N>
Cursor over(const std::uint8_t (&bytes)[N]) {
    return Cursor(std::as_bytes(std::span(bytes)), 0x1000);
}

FrameSection section(std::span<const std::byte> bytes) {
    return {bytes, FrameBuilder::kAddress, false};
}

}  // namespace

TEST_CASE("variable-length numbers are read as DWARF writes them") {
    const std::uint8_t bytes[]{0xe5, 0x8e, 0x26, 0xc0, 0xbb, 0x78, 0x7f};
    Cursor cursor = over(bytes);
    CHECK(cursor.uleb() == 624485);
    CHECK(cursor.sleb() == -123456);
    CHECK(cursor.sleb() == -1);
    CHECK_FALSE(cursor.failed());
}

TEST_CASE("a value that is cut fails and stays failed") {
    const std::uint8_t bytes[]{0x80, 0x80};
    Cursor cursor = over(bytes);
    CHECK(cursor.uleb() == 0);
    CHECK(cursor.failed());
    CHECK(cursor.take<std::uint64_t>() == 0);
}

TEST_CASE("a pointer relative to itself counts from where it lies") {
    const std::uint8_t bytes[]{0, 0, 0xfe, 0xff, 0xff, 0xff};
    Cursor cursor = over(bytes);
    cursor.take<std::uint16_t>();
    CHECK(cursor.pointer(0x1b) == 0x1000);
}

TEST_CASE("an entry names its stretch of code") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x30, {});
    const auto entries = read_entries(section(builder.bytes()));
    REQUIRE(entries.fdes.size() == 1);
    CHECK(entries.fdes[0].begin == 0x2000);
    CHECK(entries.fdes[0].end == 0x2030);
    CHECK(entries.damaged == 0);
}

TEST_CASE("an entry whose length leaves the section is counted as damaged") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x30, {});
    const auto entries = read_entries(section(builder.bytes().first(builder.bytes().size() - 4)));
    CHECK(entries.fdes.empty());
    CHECK(entries.damaged == 1);
}

TEST_CASE("an entry whose common part is missing is counted as damaged") {
    FrameBuilder builder;
    builder.entry({4, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0});
    CHECK(read_entries(section(builder.bytes())).damaged == 1);
}

TEST_CASE("every prefix of a section is survived") {
    FrameBuilder builder;
    builder.cie();
    builder.fde(0x2000, 0x40, {0x41, 0x0e, 16, 0x86, 2, 0x0f, 2, 0x76, 0x78, 0x0a, 0x0b});
    const AddressRange code{0x1000, 0x9000};
    for (std::size_t length = 0; length <= builder.bytes().size(); ++length) {
        const FrameSection cut = section(builder.bytes().first(length));
        CHECK(compile_sections({&cut, 1}, {&code, 1}).rows.size() <= 3);
    }
}
