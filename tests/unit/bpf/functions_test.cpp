#include "userspace/capture/ebpf/functions.h"

#include <catch2/catch.hpp>

using unfreed::ebpf::Functions;

TEST_CASE("functions are known by their symbols, with what their arguments mean") {
    const Functions functions({});
    REQUIRE(functions.find("calloc") != nullptr);
    CHECK(functions.find("calloc")->kind == UF_CALL_PRODUCT);
    CHECK(functions.find("posix_memalign")->kind == UF_CALL_OUT);
    CHECK(functions.find("free")->kind == UF_CALL_FREE);
    CHECK(functions.find("printf") == nullptr);
    CHECK(functions.names()[functions.find("_Znwm")->index] == "operator new(unsigned long)");
}

TEST_CASE("allocators under names of their own are malloc to the reader") {
    const Functions functions({});
    REQUIRE(functions.find("je_malloc") != nullptr);
    CHECK(functions.find("je_malloc")->index == functions.find("malloc")->index);
    CHECK(functions.find("_rjem_sdallocx")->kind == UF_CALL_FREE);
}

TEST_CASE("mappings are recorded by system call, not by probes") {
    const Functions functions({});
    CHECK(functions.find("mmap") == nullptr);
    REQUIRE(functions.index_of("mmap64"));
    CHECK(functions.domain_of(*functions.index_of("mmap64")) == Functions::kMmapDomain);
}

TEST_CASE("a pair is a domain of its own") {
    const std::vector<std::pair<std::string, std::string>> pairs{{"pool_get", "pool_put"}};
    const Functions functions(pairs);
    REQUIRE(functions.find("pool_get") != nullptr);
    CHECK(functions.find("pool_get")->wraps);
    CHECK(functions.find("pool_put")->kind == UF_CALL_FREE);
    CHECK(functions.domains().at(functions.domain_of(functions.find("pool_get")->index)) ==
          "pool_get:pool_put");
}

TEST_CASE("what gives a matrix of OpenCV its memory is known, and allocates nothing itself") {
    const Functions functions({});
    for (const char* symbol : {"_ZN2cv3Mat6createEiPKii", "cvCreateData"}) {
        REQUIRE(functions.find(symbol) != nullptr);
        CHECK(functions.find(symbol)->makes_matrix());
        CHECK(!functions.find(symbol)->allocates());
    }
}
