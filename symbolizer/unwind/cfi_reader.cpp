#include "symbolizer/unwind/cfi_reader.h"

#include <algorithm>
#include <unordered_map>

namespace unfreed::unwind {
namespace {

// DW_EH_PE: low four bits give the format, the next three what it is relative to, the top one an indirection.
constexpr std::uint8_t kAbsolute = 0x00, kUleb = 0x01, kU2 = 0x02, kU4 = 0x03, kU8 = 0x04, kSleb = 0x09,
                       kS2 = 0x0a, kS4 = 0x0b, kS8 = 0x0c, kPcRelative = 0x10, kOmitted = 0xff;

// A CIE begins after its id. Nothing: a kind that we cannot read.
std::optional<Cie> read_cie(Cursor cursor, bool debug_frame) {
    Cie cie;
    const auto version = cursor.take<std::uint8_t>();
    if (version != 1 && version != 3 && version != 4) return std::nullopt;
    std::array<char, 8> augmentation{};
    for (std::size_t length = 0;; ++length) {
        const char c = static_cast<char>(cursor.take<std::uint8_t>());
        if (c == 0) break;
        if (length + 1 >= augmentation.size()) return std::nullopt;
        augmentation[length] = c;
    }
    if (version == 4) {
        const auto address_size = cursor.take<std::uint8_t>();
        const auto segment_size = cursor.take<std::uint8_t>();
        if (address_size != 8 || segment_size != 0) return std::nullopt;
    }
    cie.code_align = cursor.uleb();
    cie.data_align = cursor.sleb();
    const std::uint64_t return_register = version == 1 ? cursor.take<std::uint8_t>() : cursor.uleb();
    if (cursor.failed() || return_register != 16) return std::nullopt;
    if (augmentation[0] == 'z') {
        if (debug_frame) return std::nullopt;
        cie.has_augmentation_data = true;
        const std::uint64_t length = cursor.uleb();
        const std::uint64_t data_address = cursor.address();
        Cursor data(cursor.take_bytes(length), data_address);
        for (const char* letter = &augmentation[1]; *letter != 0; ++letter) {
            if (*letter == 'R') {
                cie.pointer_encoding = data.take<std::uint8_t>();
            } else if (*letter == 'P') {
                data.pointer(data.take<std::uint8_t>());
            } else if (*letter == 'L') {
                data.take<std::uint8_t>();
            } else if (*letter == 'S') {
                cie.signal_frame = true;
            } else if (*letter != 'B') {
                return std::nullopt;
            }
        }
        if (data.failed()) return std::nullopt;
    } else if (augmentation[0] != 0) {
        return std::nullopt;
    }
    if (cursor.failed()) return std::nullopt;
    cie.instructions = cursor;
    return cie;
}

bool read_fde(Cursor cursor, const Cie& cie, Fde& fde) {
    fde.begin = cursor.pointer(cie.pointer_encoding);
    const std::uint64_t length = cursor.pointer(cie.pointer_encoding & 0x0f);
    fde.end = fde.begin + length;
    if (cie.has_augmentation_data) cursor.take_bytes(cursor.uleb());
    if (cursor.failed() || fde.end < fde.begin) return false;
    fde.instructions = cursor;
    return true;
}

}  // namespace

std::uint64_t Cursor::uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const auto byte = take<std::uint8_t>();
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    fail();
    return 0;
}

std::int64_t Cursor::sleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64;) {
        const auto byte = take<std::uint8_t>();
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if ((byte & 0x40) && shift < 64) value |= ~std::uint64_t{0} << shift;
            return static_cast<std::int64_t>(value);
        }
    }
    fail();
    return 0;
}

std::span<const std::byte> Cursor::take_bytes(std::uint64_t count) {
    if (count > bytes_.size() - at_) return fail(), std::span<const std::byte>{};
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
}

std::uint64_t Cursor::pointer(std::uint8_t encoding) {
    if (encoding == kOmitted) return 0;
    const std::uint64_t here = address();
    std::uint64_t value = 0;
    switch (encoding & 0x0f) {
        case kAbsolute:
        case kU8:
        case kS8:
            value = take<std::uint64_t>();
            break;
        case kUleb:
            value = uleb();
            break;
        case kU2:
            value = take<std::uint16_t>();
            break;
        case kU4:
            value = take<std::uint32_t>();
            break;
        case kSleb:
            value = static_cast<std::uint64_t>(sleb());
            break;
        case kS2:
            value = static_cast<std::uint64_t>(std::int64_t{take<std::int16_t>()});
            break;
        case kS4:
            value = static_cast<std::uint64_t>(std::int64_t{take<std::int32_t>()});
            break;
        default:
            fail();
            return 0;
    }
    if ((encoding & 0x70) == kPcRelative) return value + here;
    if ((encoding & 0x70) != 0) fail();  // relative to text, data or function: not seen on x86-64
    return value;
}

Entries read_entries(const FrameSection& section) {
    Entries entries;
    // A CIE's index by its offset in the section; a CIE that we cannot read is known as such.
    constexpr std::uint32_t kUnreadable = UINT32_MAX;
    std::unordered_map<std::uint64_t, std::uint32_t> cie_at;
    std::uint64_t last_offset = UINT64_MAX;  // most FDEs follow their CIE: spares the look-up
    std::uint32_t last_cie = kUnreadable;

    const auto find_cie = [&](std::uint64_t offset) {
        if (offset == last_offset) return last_cie;
        const auto [found, is_new] = cie_at.try_emplace(offset, kUnreadable);
        if (is_new && offset < section.bytes.size()) {
            Cursor cursor(section.bytes.subspan(offset), section.address + offset);
            std::uint64_t length = cursor.take<std::uint32_t>();
            const bool wide = length == 0xffffffff;
            if (wide) length = cursor.take<std::uint64_t>();
            const std::uint64_t address = cursor.address();
            Cursor body(cursor.take_bytes(length), address);
            const bool wide_id = wide && section.debug_frame;
            const std::uint64_t id = wide_id ? body.take<std::uint64_t>() : body.take<std::uint32_t>();
            const std::uint64_t expected = section.debug_frame ? (wide_id ? UINT64_MAX : UINT32_MAX) : 0;
            const std::uint64_t rest_address = body.address();
            const std::size_t rest = body.failed() ? 0 : static_cast<std::size_t>(length) - body.offset();
            if (!body.failed() && id == expected) {
                if (auto cie = read_cie(Cursor(body.take_bytes(rest), rest_address), section.debug_frame)) {
                    found->second = static_cast<std::uint32_t>(entries.cies.size());
                    entries.cies.push_back(*cie);
                }
            }
        }
        last_offset = offset;
        last_cie = found->second;
        return last_cie;
    };

    Cursor cursor(section.bytes, section.address);
    while (!cursor.empty()) {
        std::uint64_t length = cursor.take<std::uint32_t>();
        if (length == 0) {
            if (section.debug_frame) continue;
            break;  // the terminator
        }
        const bool wide = length == 0xffffffff;
        if (wide) length = cursor.take<std::uint64_t>();
        const std::uint64_t id_offset = cursor.offset();
        const std::uint64_t address = cursor.address();
        const auto bytes = cursor.take_bytes(length);
        if (cursor.failed()) {
            ++entries.damaged;
            break;
        }
        Cursor body(bytes, address);
        const bool wide_id = wide && section.debug_frame;
        const std::uint64_t id = wide_id ? body.take<std::uint64_t>() : body.take<std::uint32_t>();
        if (id == (section.debug_frame ? (wide_id ? UINT64_MAX : UINT32_MAX) : 0)) continue;  // a CIE
        // .eh_frame: distance back from the id's own place; .debug_frame: offset in the section.
        const std::uint32_t cie = find_cie(section.debug_frame ? id : id_offset - id);
        Fde fde;
        const std::uint64_t rest_address = body.address();
        const std::size_t rest = bytes.size() - body.offset();
        if (cie == kUnreadable || body.failed() ||
            !read_fde(Cursor(body.take_bytes(rest), rest_address), entries.cies[cie], fde)) {
            ++entries.damaged;
            continue;
        }
        fde.cie = cie;
        entries.fdes.push_back(fde);
    }
    return entries;
}

}  // namespace unfreed::unwind
