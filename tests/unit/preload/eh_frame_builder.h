// A hand-made .eh_frame_hdr and .eh_frame in memory, for what no compiler writes any more, or never did.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "preload/cfi.h"

namespace unfreed::preload {

using Bytes = std::vector<uint8_t>;

Bytes uleb(uint64_t value);
Bytes sleb(int64_t value);
Bytes operator+(Bytes left, const Bytes& right);

// One object with one CIE and one function at a pc of our choice, which nothing ever reads or runs.
struct EhFrameBuilder {
    static constexpr uint64_t kFunction = 0x5000'0000'1000, kFunctionSize = 0x100;

    EhFrameBuilder();

    uint8_t version = 1;
    std::string augmentation = "zR";
    uint8_t fde_encoding = 0x00;  // absptr
    Bytes initial;                // CFA = rsp + 8, the return address at CFA - 8
    Bytes instructions;

    // Valid for as long as the builder is, until the next call.
    CodeObject build();

  private:
    Bytes image_;
};

}
