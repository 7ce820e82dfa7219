// Reads call frame information: a cursor over untrusted bytes, the entries (CIE, FDE) of a section, and the
// rules that an entry's instructions make, one stretch of code at a time.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "symbolizer/unwind/unwind_table.h"

namespace unfreed::unwind {

// Takes values off the front; once something is missing, `failed` stays and every value is 0.
class Cursor {
  public:
    Cursor() = default;
    Cursor(std::span<const std::byte> bytes, std::uint64_t address) : bytes_(bytes), address_(address) {}

    bool empty() const { return at_ >= bytes_.size(); }
    bool failed() const { return failed_; }
    std::size_t offset() const { return at_; }
    std::uint64_t address() const { return address_ + at_; }  // that the next byte loads at

    template <class T>
    T take() {
        T value{};
        if (bytes_.size() - at_ < sizeof value) return fail(), T{};
        std::memcpy(&value, bytes_.data() + at_, sizeof value);
        at_ += sizeof value;
        return value;
    }
    std::uint64_t uleb();
    std::int64_t sleb();
    std::span<const std::byte> take_bytes(std::uint64_t count);
    // A pointer in one of the encodings of .eh_frame (DW_EH_PE_x), indirections not followed.
    std::uint64_t pointer(std::uint8_t encoding);

    void fail() {
        failed_ = true;
        at_ = bytes_.size();
    }

  private:
    std::span<const std::byte> bytes_;
    std::uint64_t address_ = 0;
    std::size_t at_ = 0;
    bool failed_ = false;
};

// Common information entry: what many functions share.
struct Cie {
    std::uint64_t code_align = 1;
    std::int64_t data_align = 1;
    std::uint8_t pointer_encoding = 0;
    bool has_augmentation_data = false;
    bool signal_frame = false;
    Cursor instructions;
};

// Frame description entry: one stretch of code.
struct Fde {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint32_t cie = 0;  // index into Entries::cies
    Cursor instructions;
};

struct Entries {
    std::vector<Cie> cies;
    std::vector<Fde> fdes;
    std::size_t damaged = 0;
};
Entries read_entries(const FrameSection& section);

// Appends the rows of one entry, `pc` counted from `base`, each different from the one before it; false:
// damaged (rows until there were appended).
bool append_rows(const Cie& cie, const Fde& fde, std::uint64_t base, std::vector<uf_row>& rows);

}  // namespace unfreed::unwind
