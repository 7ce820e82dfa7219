// An ELF file mapped as the loader maps it, but not run: code under test reads its .eh_frame in memory,
// elfutils reads the same file.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "preload/cfi.h"

namespace unfreed::preload {

class MappedElf {
  public:
    // Throws std::runtime_error when the file cannot be opened, is no 64-bit ELF file or has no
    // .eh_frame_hdr.
    explicit MappedElf(const std::string& path);
    ~MappedElf();
    MappedElf(const MappedElf&) = delete;
    MappedElf& operator=(const MappedElf&) = delete;

    const CodeObject& object() const { return object_; }
    uint64_t bias() const { return bias_; }  // mapped address - the file's virtual address
    int descriptor() const { return descriptor_; }
    // Where the functions of .eh_frame_hdr's search table begin, as mapped addresses, ascending.
    const std::vector<uint64_t>& function_starts() const { return function_starts_; }

  private:
    void map_segments();

    int descriptor_ = -1;
    void* reservation_ = nullptr;
    uint64_t length_ = 0;
    uint64_t bias_ = 0;
    CodeObject object_{};
    std::vector<uint64_t> function_starts_;
};

}
