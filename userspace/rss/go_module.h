// The Go program or library that a process runs, where there is one.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/rss/smaps.h"

namespace unfreed::rss {

struct GoModule {
    std::string path;        // to open it by
    std::string name;        // as the process named it
    std::uint64_t bias = 0;  // address in the process = address in the file + bias
};

// The first mapped file that Go made (it has a section .go.buildinfo).
std::optional<GoModule> find_go_module(int pid, const std::vector<Mapping>& mappings);

}  // namespace unfreed::rss
