// Rows and rules of the system's libraries, as elfutils understands them.
// The whole of them: UNFREED_SWEEP="FILE..." unit_preload '[.sweep]' also prints how common each kind of rule
// is.
#include "tests/unit/preload/elfutils_oracle.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>

namespace unfreed::preload {
namespace {

void require_agreement(const std::string& path, unsigned stride) {
    if (!std::filesystem::exists(path)) return;
    const Comparison comparison = compare_with_elfutils(path, stride);
    for (const std::string& difference : comparison.differences) UNSCOPED_INFO(difference);
    REQUIRE(comparison.differences.empty());
    REQUIRE(comparison.rows > 0);
}

}

TEST_CASE("every row of the C library and the loader is as elfutils reads it") {
    REQUIRE(std::filesystem::exists("/lib/x86_64-linux-gnu/libc.so.6"));
    require_agreement("/lib/x86_64-linux-gnu/libc.so.6", 1);
    require_agreement("/lib64/ld-linux-x86-64.so.2", 1);
}

TEST_CASE("rows of C++, of an interpreter and of large programs are as elfutils reads them") {
    require_agreement("/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 1);
    require_agreement("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 5);  // assembly with expressions
    require_agreement("/usr/lib/x86_64-linux-gnu/libopencv_core.so.406", 10);
    require_agreement("/usr/bin/python3.11", 10);
    require_agreement("/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", 100);
}

TEST_CASE("every row of the files in UNFREED_SWEEP is as elfutils reads it", "[.sweep]") {
    const char* files = std::getenv("UNFREED_SWEEP");
    REQUIRE(files != nullptr);
    std::istringstream list{files};
    Comparison total;
    for (std::string path; list >> path;) {
        Comparison one;
        try {
            one = compare_with_elfutils(path, 1);
        } catch (const std::exception& error) {
            std::cout << path << ": " << error.what() << "\n";
            continue;
        }
        for (const std::string& difference : one.differences) std::cout << difference << "\n";
        total.functions += one.functions;
        total.rows += one.rows;
        total.pcs += one.pcs;
        for (size_t i = 0; i < total.rules.size(); ++i) total.rules[i] += one.rules[i];
        total.differences.insert(total.differences.end(), one.differences.begin(), one.differences.end());
        if (one.rows && one.rules[kCfaFull] * 1000 > one.rows) {
            std::cout << path << ": full " << one.rules[kCfaFull] << " of " << one.rows << "\n";
        }
    }
    std::cout << total.functions << " functions, " << total.rows << " rows, " << total.pcs
              << " pcs\nsp, rbp, *rbp, "
              << "outermost, full, none:";
    for (const uint64_t count : total.rules) std::cout << " " << count;
    std::cout << "\n";
    CHECK(total.differences.empty());
}

}
