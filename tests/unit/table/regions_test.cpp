#include "preload/regions.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <vector>

#include "tests/unit/table/test_table.h"

using namespace unfreed::preload;

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBase = 0x7f0000000000;

struct Span {
    uint64_t first, pages;
    uint32_t stack;
    bool operator==(const Span&) const = default;
};

// What a reader sees: in pages from kBase, by address.
std::vector<Span> spans(const TestTable& table, bool reserved = false) {
    std::vector<Span> found;
    for (uint32_t i = 0; i < table.get()->header()->region_count; i++) {
        const uf_region& region = table.get()->regions()[i];
        if (region.length != 0 && (region.epoch == UF_EPOCH_RESERVED) == reserved)
            found.push_back(Span{(region.start - kBase) / kPage, region.length / kPage, region.stack});
    }
    std::sort(found.begin(), found.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
    return found;
}

void add(const TestTable& table, uint64_t first, uint64_t pages, uint32_t stack, bool reserved = false) {
    add_region(table.get(), kBase + first * kPage, pages * kPage, stack, reserved);
}

Removed remove(const TestTable& table, uint64_t first, uint64_t pages) {
    Removed removed;
    remove_region(table.get(), kBase + first * kPage, pages * kPage, &removed);
    return removed;
}

}

TEST_CASE("unmapping the front, the middle and the back leaves the rest") {
    TestTable table;
    add(table, 0, 10, 1);
    remove(table, 0, 2);
    CHECK(spans(table) == std::vector<Span>{{2, 8, 1}});
    remove(table, 8, 2);
    CHECK(spans(table) == std::vector<Span>{{2, 6, 1}});
    remove(table, 4, 1);
    CHECK(spans(table) == std::vector<Span>{{2, 2, 1}, {5, 3, 1}});
    remove(table, 0, 100);
    CHECK(spans(table).empty());
}

TEST_CASE("a mapping over others takes their place") {
    TestTable table;
    add(table, 0, 4, 1);
    add(table, 4, 4, 2);
    add(table, 2, 4, 3);
    CHECK(spans(table) == std::vector<Span>{{0, 2, 1}, {2, 4, 3}, {6, 2, 2}});
}

TEST_CASE("a failed unmap puts back what it took") {
    TestTable table;
    add(table, 0, 4, 1);
    add(table, 6, 2, 2);
    restore_regions(table.get(), remove(table, 1, 6));
    uint64_t pages = 0;
    for (const Span& span : spans(table)) pages += span.pages;
    CHECK(pages == 6);
    remove(table, 0, 8);
    CHECK(spans(table).empty());
}

TEST_CASE("reserved addresses are not in use until their protection is opened, part by part") {
    TestTable table;
    add(table, 0, 10, 1, true);
    CHECK(spans(table).empty());
    Changed opened = change_reservation(table.get(), kBase + 2 * kPage, 3 * kPage, false);
    CHECK(opened.parts == 1);
    CHECK(opened.bytes == 3 * kPage);
    CHECK(opened.stack == 1);
    CHECK(spans(table) == std::vector<Span>{{2, 3, 1}});
    CHECK(spans(table, true) == std::vector<Span>{{0, 2, 1}, {5, 5, 1}});
    change_reservation(table.get(), kBase, 10 * kPage, true);
    CHECK(spans(table).empty());
}

TEST_CASE("lengths are whole pages") {
    TestTable table;
    add_region(table.get(), kBase, 5000, 1, false);
    CHECK(spans(table) == std::vector<Span>{{0, 2, 1}});
}

TEST_CASE("what was not asked for of the last page stays with the end of the mapping") {
    TestTable table;
    add_region(table.get(), kBase, 3 * kPage - 100, 1, false);
    const auto slack = [&table] {
        std::vector<uint32_t> found;
        for (uint32_t i = 0; i < table.get()->header()->region_count; i++)
            if (table.get()->regions()[i].length != 0) found.push_back(table.get()->regions()[i].slack);
        std::sort(found.begin(), found.end());
        return found;
    };
    CHECK(slack() == std::vector<uint32_t>{100});
    remove(table, 1, 1);
    CHECK(slack() == std::vector<uint32_t>{0, 100});
    Removed last = remove(table, 2, 1);
    CHECK(slack() == std::vector<uint32_t>{0});
    restore_regions(table.get(), last);
    CHECK(slack() == std::vector<uint32_t>{0, 100});
}

TEST_CASE("the parts of a mapping are one block, and what mprotect opens is another") {
    TestTable table;
    add(table, 0, 10, 1);
    remove(table, 4, 1);
    add(table, 20, 10, 2, true);
    change_reservation(table.get(), kBase + 20 * kPage, kPage, false);
    change_reservation(table.get(), kBase + 22 * kPage, kPage, false);
    std::map<uint32_t, int> parts;  // by block
    for (uint32_t i = 0; i < table.get()->header()->region_count; i++) {
        const uf_region& region = table.get()->regions()[i];
        if (region.length != 0 && region.epoch != UF_EPOCH_RESERVED) parts[region.block]++;
    }
    REQUIRE(parts.size() == 3);
    CHECK(std::count_if(parts.begin(), parts.end(), [](const auto& part) { return part.second == 2; }) == 1);
}

TEST_CASE("a full table of mappings says so") {
    TestTable table;
    table.get()->header()->region_count = UF_REGIONS;
    add(table, 0, 1, 1);
    CHECK(table.loss(UF_LOSS_region_table_full) == 1);
}

TEST_CASE("threads that map and unmap at the same time leave what they left mapped") {
    TestTable table;
    on_threads(8, [&](int thread) {
        auto base = static_cast<uint64_t>(thread) * 100000;
        for (uint64_t i = 0; i < 200; i++) {
            add(table, base + i * 10, 4, static_cast<uint32_t>(thread) + 1);
            remove(table, base + i * 10 + 1, 2);
        }
    });
    auto left = spans(table);
    CHECK(left.size() == 8 * 200 * 2);
    CHECK(std::all_of(left.begin(), left.end(), [](const Span& span) { return span.pages == 1; }));
    CHECK(table.loss(UF_LOSS_region_busy) == 0);
}
