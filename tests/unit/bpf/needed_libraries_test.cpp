#include "userspace/capture/ebpf/needed_libraries.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

using unfreed::ebpf::libraries_of;

namespace {

bool any_named(const std::vector<std::string>& paths, const std::string& part) {
    return std::any_of(paths.begin(), paths.end(),
                       [&](const std::string& path) { return path.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("a program's libraries and interpreter are found before it runs") {
    const auto paths = libraries_of("/proc/self/exe");
    CHECK(paths.front() == "/proc/self/exe");
    CHECK(any_named(paths, "libc.so"));
    CHECK(any_named(paths, "libstdc++.so"));
    CHECK(any_named(paths, "ld-linux"));
}

TEST_CASE("a script leads to its interpreter") {
    const std::string script = "needed_libraries_test.sh";
    std::ofstream(script) << "#! /bin/sh -e\n";
    CHECK(libraries_of(script).front() == "/bin/sh");
    std::remove(script.c_str());
}

TEST_CASE("a program that does not exist needs nothing") {
    CHECK(libraries_of("/no/such/program").size() == 1);
}
