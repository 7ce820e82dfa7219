// What the kernel says of every mapping of a process: /proc/PID/smaps (Linux,
// Documentation/filesystems/proc.rst). Bytes everywhere; the kernel prints kibibytes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unfreed::rss {

struct Mapping {
    std::uint64_t start = 0, end = 0;
    std::string permissions;   // rwxp, or s at the end: shared
    std::uint64_t offset = 0;  // in the file
    std::uint64_t inode = 0;   // 0: not a file
    std::string name;          // path, [heap], [anon:NAME]; empty: anonymous

    std::uint64_t rss = 0, pss = 0;
    std::uint64_t swap = 0, swap_pss = 0;
    std::uint64_t lazy_free = 0;  // given back with MADV_FREE, still resident; part of rss

    bool writable() const { return permissions.size() > 1 && permissions[1] == 'w'; }
    bool shared() const { return permissions.size() > 3 && permissions[3] == 's'; }
    bool is_file() const { return inode != 0; }
};

// In the order of addresses. Lines that it does not know are passed over.
std::vector<Mapping> parse_smaps(std::string_view text);

}  // namespace unfreed::rss
