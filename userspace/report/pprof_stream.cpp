#include "userspace/report/pprof_stream.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "userspace/error.h"

namespace unfreed::pprof {

constexpr std::size_t kBuffer = 1 << 17;

FieldStream::FieldStream(int descriptor, std::string name)
    : name_(std::move(name)), gzip_(gzdopen(descriptor, "rb")), buffer_(kBuffer) {
    if (gzip_ == nullptr) {
        close(descriptor);
        throw Error(name_, "cannot be read: out of memory", "free some memory");
    }
    gzbuffer(gzip_, kBuffer);
}

FieldStream::~FieldStream() {
    gzclose(gzip_);
}

void FieldStream::corrupt(const std::string& why) const {
    if (!recognized_) {
        foreign("it does not start like one");
    }
    throw Error(name_, "the profile is corrupt: " + why, "make it anew");
}

void FieldStream::truncated() const {
    if (!recognized_ && gzdirect(gzip_) != 0) {
        foreign("it does not start like one");
    }
    throw Error(name_, "the profile is truncated: the file ends in the middle", "copy or make it anew");
}

void FieldStream::foreign(const std::string& why) const {
    throw Error(name_, "not a memory profile in pprof's format: " + why,
                "give a file that unfreed, Go or another heap profiler wrote");
}

bool FieldStream::fill() {
    const int got = gzread(gzip_, buffer_.data(), static_cast<unsigned>(buffer_.size()));
    if (got <= 0) {
        int code = Z_OK;
        const char* const message = gzerror(gzip_, &code);
        if (code == Z_BUF_ERROR) {
            truncated();
        }
        if (code == Z_ERRNO) {
            throw Error(name_, std::string("cannot be read: ") + std::strerror(errno),
                        "give the file of a profile");
        }
        if (got < 0) {
            recognized_ = true;  // by gzip's mark
            corrupt(std::string("gzip says ") + message);
        }
        return false;
    }
    at_ = 0;
    end_ = static_cast<std::size_t>(got);
    return true;
}

int FieldStream::byte() {
    if (at_ == end_ && !fill()) {
        return -1;
    }
    return static_cast<unsigned char>(buffer_[at_++]);
}

std::uint64_t FieldStream::varint(int first) {
    std::uint64_t value = 0;
    int next = first;
    for (int shift = 0; shift < 64; shift += 7) {
        if (next < 0) {
            truncated();
        }
        value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
        if ((next & 0x80) == 0) {
            return value;
        }
        next = byte();
    }
    corrupt("a number has no end");
}

std::uint64_t FieldStream::fixed(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) {
        const int next = byte();
        if (next < 0) {
            truncated();
        }
        value |= static_cast<std::uint64_t>(next) << (8 * i);
    }
    return value;
}

// A view into the buffer where the field lies in it whole; else it is gathered, growing as bytes arrive, so
// that a false length costs no more than the file's own size.
protozero::data_view FieldStream::take(std::uint64_t size) {
    if (size <= end_ - at_) {
        const protozero::data_view view(buffer_.data() + at_, static_cast<std::size_t>(size));
        at_ += static_cast<std::size_t>(size);
        return view;
    }
    long_field_.clear();
    while (long_field_.size() < size) {
        if (at_ == end_ && !fill()) {
            truncated();
        }
        const std::size_t part = std::min<std::uint64_t>(size - long_field_.size(), end_ - at_);
        long_field_.append(buffer_.data() + at_, part);
        at_ += part;
    }
    return {long_field_.data(), long_field_.size()};
}

std::optional<FieldStream::Field> FieldStream::next() {
    const int first = byte();
    if (first < 0) {
        return std::nullopt;
    }
    const std::uint64_t key = varint(first);
    Field field;
    field.type = static_cast<protozero::pbf_wire_type>(key & 7);
    if (key >> 3 == 0 || key >> 32 != 0) {
        corrupt("a field has no number");
    }
    field.tag = static_cast<std::uint32_t>(key >> 3);
    switch (field.type) {
        case protozero::pbf_wire_type::varint:
            field.number = varint(byte());
            break;
        case protozero::pbf_wire_type::fixed64:
            field.number = fixed(8);
            break;
        case protozero::pbf_wire_type::fixed32:
            field.number = fixed(4);
            break;
        case protozero::pbf_wire_type::length_delimited:
            field.bytes = take(varint(byte()));
            break;
        default:
            corrupt("a field has no known type");
    }
    return field;
}

}  // namespace unfreed::pprof
