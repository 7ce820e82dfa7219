// Reads the primitive types of DWARF out of a bounded piece of memory.
#pragma once
#include <cstdint>

namespace unfreed::preload {

// A cursor that never leaves [p, end). After an error `ok` is false and every value read is 0.
struct DwarfReader {
    const uint8_t* p;
    const uint8_t* end;
    bool ok = true;

    bool at_end() const { return !ok || p >= end; }

    const uint8_t* take(uint64_t bytes) {
        if (!ok || bytes > static_cast<uint64_t>(end - p)) {
            ok = false;
            return nullptr;
        }
        const uint8_t* taken = p;
        p += bytes;
        return taken;
    }

    template <typename T>
    T fixed() {
        T value = 0;
        if (const uint8_t* bytes = take(sizeof(T))) __builtin_memcpy(&value, bytes, sizeof(T));
        return value;
    }

    uint64_t uleb() {
        uint64_t value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            const uint8_t byte = fixed<uint8_t>();
            if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if (!(byte & 0x80)) return value;
        }
        ok = false;
        return 0;
    }

    int64_t sleb() {
        uint64_t value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            const uint8_t byte = fixed<uint8_t>();
            if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if (byte & 0x80) continue;
            if ((byte & 0x40) && shift + 7 < 64) value |= ~uint64_t{0} << (shift + 7);
            return static_cast<int64_t>(value);
        }
        ok = false;
        return 0;
    }
};

}
