// Machine code written out byte by byte.
#pragma once
#include <cstddef>
#include <initializer_list>
#include <vector>

namespace unfreed::ebpf::testing {

inline std::vector<std::byte> code(std::initializer_list<int> bytes) {
    std::vector<std::byte> all;
    for (const int byte : bytes) all.push_back(static_cast<std::byte>(byte));
    return all;
}

}  // namespace unfreed::ebpf::testing
