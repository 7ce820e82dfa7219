// Builds an .eh_frame section byte by byte, as an assembler would.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

namespace unfreed::unwind::testing {

class FrameBuilder {
  public:
    static constexpr std::uint64_t kAddress = 0x100000;  // that the section loads at

    // "zR", code alignment 1, data alignment -8, 4-byte pc-relative pointers; CFA = rsp + 8, return address
    // at CFA - 8
    void cie() {
        cie_ = bytes_.size();
        entry({0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1});
    }
    void fde(std::uint64_t begin, std::uint32_t length, std::initializer_list<std::uint8_t> instructions) {
        fde(begin, length, std::span(instructions.begin(), instructions.size()));
    }
    void fde(std::uint64_t begin, std::uint32_t length, std::span<const std::uint8_t> instructions) {
        const auto start = bytes_.size();
        std::vector<std::uint8_t> body(13);
        put(body, 0, static_cast<std::uint32_t>(start + 4 - cie_));
        put(body, 4, static_cast<std::uint32_t>(begin - (kAddress + start + 8)));
        put(body, 8, length);
        body.insert(body.end(), instructions.begin(), instructions.end());
        entry(body);
    }
    // An entry as it is, its length put before it.
    void entry(const std::vector<std::uint8_t>& body) {
        std::vector<std::uint8_t> whole(4);
        put(whole, 0, static_cast<std::uint32_t>((body.size() + 3) / 4 * 4));
        whole.insert(whole.end(), body.begin(), body.end());
        whole.resize((whole.size() + 3) / 4 * 4);
        bytes_.insert(bytes_.end(), whole.begin(), whole.end());
    }
    std::span<const std::byte> bytes() const { return std::as_bytes(std::span(bytes_)); }

  private:
    static void put(std::vector<std::uint8_t>& to, std::size_t at, std::uint32_t value) {
        std::memcpy(to.data() + at, &value, sizeof value);
    }
    std::vector<std::uint8_t> bytes_;
    std::size_t cie_ = 0;
};

}  // namespace unfreed::unwind::testing
