#include "userspace/capture/preload/shim.h"

#include <catch2/catch.hpp>

#include "preload/contract/table.h"

using namespace unfreed;

TEST_CASE("the shim comes first in LD_PRELOAD and what was there stays") {
    CHECK(preload_first("/a/shim.so", nullptr) == "/a/shim.so");
    CHECK(preload_first("/a/shim.so", "") == "/a/shim.so");
    CHECK(preload_first("/a/shim.so", "/b/other.so") == "/a/shim.so:/b/other.so");
    CHECK(preload_first("/a/shim.so", "/b/one.so /c/two.so") == "/a/shim.so:/b/one.so /c/two.so");
}

TEST_CASE("the shim is not loaded twice under another unfreed") {
    CHECK(preload_first("/a/shim.so", "/a/shim.so:/b/other.so") == "/a/shim.so:/b/other.so");
    CHECK(preload_first("/a/shim.so", "/a/shim.so") == "/a/shim.so");
}

TEST_CASE("without a limit of the address space nothing is changed") {
    const AddressSpace plan = plan_address_space({RLIM_INFINITY, RLIM_INFINITY}, false);
    CHECK(plan.possible);
    CHECK(!plan.raised);
    CHECK(!plan.program);
}

TEST_CASE("a soft limit of the address space grows by the table") {
    const AddressSpace plan = plan_address_space({1 << 30, RLIM_INFINITY}, false);
    CHECK(plan.possible);
    REQUIRE(plan.raised);
    CHECK(plan.raised->rlim_cur > UF_TABLE_BYTES + (1 << 30));
    CHECK(plan.raised->rlim_max == RLIM_INFINITY);
    CHECK(plan.program == 1 << 30);
}

TEST_CASE("a hard limit of the address space stops all but root") {
    CHECK(!plan_address_space({1 << 30, 1 << 30}, false).possible);
    const AddressSpace plan = plan_address_space({1 << 30, 1 << 30}, true);
    CHECK(plan.possible);
    CHECK(plan.raised->rlim_max == plan.raised->rlim_cur);
}
