// The shim's reader of Go's table, on a module that is part of this program (go_module.S).
#include "preload/go_table.h"

#include <catch2/catch.hpp>
#include <cstring>

extern "C" const char go_code[], go_code_second[], go_code_end[];

namespace {
using unfreed::preload::find_go_function;
using unfreed::preload::GoFunction;

std::uint64_t at(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}

}  // namespace

TEST_CASE("the table of a loaded module tells functions, their frames, and who sets sp") {
    GoFunction function{};
    REQUIRE(find_go_function(at(go_code) + 3, &function));
    CHECK(std::strcmp(function.name, "main.first") == 0);
    CHECK(function.entry == at(go_code));
    CHECK(function.frame_bytes == 0);
    CHECK_FALSE(function.sets_sp);
    REQUIRE(find_go_function(at(go_code) + 4, &function));
    CHECK(function.frame_bytes == 24);
    REQUIRE(find_go_function(at(go_code_end) - 1, &function));
    CHECK(std::strcmp(function.name, "main.second") == 0);
    CHECK(function.entry == at(go_code_second));
    CHECK(function.frame_bytes == 4096);
    CHECK(function.sets_sp);
}

TEST_CASE("code beside the Go code of a module, and code of other modules, is not Go's") {
    GoFunction function{};
    CHECK_FALSE(find_go_function(at(go_code) - 1, &function));
    CHECK_FALSE(find_go_function(at(go_code_end), &function));
    CHECK_FALSE(find_go_function(reinterpret_cast<std::uint64_t>(&std::strlen), &function));
    CHECK_FALSE(find_go_function(0, &function));
}
