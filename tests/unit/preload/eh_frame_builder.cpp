#include "tests/unit/preload/eh_frame_builder.h"

namespace unfreed::preload {
namespace {

template <typename T>
Bytes fixed(T value) {
    Bytes bytes;
    for (size_t i = 0; i < sizeof(T); ++i)
        bytes.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
    return bytes;
}

Bytes entry(Bytes content) {
    while ((content.size() + 4) % 8) content.push_back(0);  // DW_CFA_nop
    return fixed(static_cast<uint32_t>(content.size())) + content;
}

}

Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

Bytes uleb(uint64_t value) {
    Bytes bytes;
    for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 0x80));
    bytes.push_back(static_cast<uint8_t>(value));
    return bytes;
}

Bytes sleb(int64_t value) {
    Bytes bytes;
    for (; value < -64 || value > 63; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 0x80));
    bytes.push_back(static_cast<uint8_t>(value & 0x7f));
    return bytes;
}

EhFrameBuilder::EhFrameBuilder() : initial{0x0c, 7, 8, 0x90, 1} {}

CodeObject EhFrameBuilder::build() {
    constexpr uint32_t kHeader = 24;  // what follows is aligned to 8
    Bytes cie = fixed(uint32_t{0}) + Bytes{version};
    cie = cie + Bytes(augmentation.begin(), augmentation.end()) + Bytes{0};
    if (augmentation.starts_with("eh")) cie = cie + fixed(uint64_t{0});
    if (version == 4) cie = cie + Bytes{8, 0};
    cie = cie + uleb(1) + sleb(-8) + uleb(16);
    const bool sized = augmentation.starts_with("z");
    if (sized) cie = cie + Bytes{1, fde_encoding};
    cie = entry(cie + initial);

    const auto cie_distance = static_cast<uint32_t>(cie.size() + 4);
    Bytes fde = fixed(cie_distance) + fixed(kFunction) + fixed(kFunctionSize);
    if (sized) fde = fde + Bytes{0};
    fde = entry(fde + instructions);

    // Version 1; where .eh_frame is: sdata4, pcrel; no search table.
    Bytes header = Bytes{1, 0x1b, 0xff, 0xff} + fixed(int32_t{kHeader - 4});
    header.resize(kHeader);
    image_ = header + cie + fde + fixed(uint32_t{0});
    const auto begin = reinterpret_cast<uint64_t>(image_.data());
    return {image_.data(), begin, begin + image_.size()};
}

}
