// The memory of an ELF file as it will be once it is loaded, read by address: the bytes of its segments, with
// the relocations applied that only add the load bias (R_X86_64_RELATIVE). Position-independent Go programs
// keep the pointers of their tables in such relocations, not in the bytes.
//
// Addresses are those of the file. Every read is bounds-checked: an address that the file has no bytes for
// gives nothing.
#pragma once
#include <libelf.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace unfreed::symbolizer::go {

using Bytes = std::span<const std::uint8_t>;

// The number at `offset`, if all of it is there.
template <typename Number>
std::optional<Number> number_at(Bytes bytes, std::uint64_t offset) {
    static_assert(std::is_integral_v<Number>);
    if (offset > bytes.size() || bytes.size() - offset < sizeof(Number)) return std::nullopt;
    Number number;
    std::memcpy(&number, bytes.data() + offset, sizeof number);
    return number;
}

// The part of `bytes` that begins at `offset`; empty beyond the end.
inline Bytes tail(Bytes bytes, std::uint64_t offset) {
    return offset < bytes.size() ? bytes.subspan(offset) : Bytes{};
}

struct Section {
    std::string_view name;
    std::uint64_t address = 0;
    Bytes bytes;
};

class FileImage {
  public:
    // `elf` outlives the image, which points into it. A file that is not 64-bit x86 gives an empty image.
    explicit FileImage(Elf* elf);

    // From `address` to the end of its segment's bytes; empty: not in the file.
    Bytes from(std::uint64_t address) const;
    // The pointer stored at `address`, relocated.
    std::optional<std::uint64_t> pointer(std::uint64_t address) const;
    // Sections that are loaded and have bytes.
    const std::vector<Section>& sections() const { return sections_; }

  private:
    struct Segment {
        std::uint64_t address;
        Bytes bytes;
    };
    struct Relocation {
        std::uint64_t address;
        std::uint64_t value;
    };
    void add_segments(Elf* elf, Bytes file);
    void add_sections(Elf* elf, Bytes file);
    void add_relocations(Bytes table);

    std::vector<Segment> segments_;
    std::vector<Section> sections_;
    std::vector<Relocation> relocations_;  // sorted by address
};

}  // namespace unfreed::symbolizer::go
