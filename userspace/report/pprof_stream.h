// The fields of a pprof file's one big message, one after the other: the file, gzip'd or not, is never in
// memory as a whole. Every length is checked against what the file really holds before it is believed.
#pragma once
#include <cstdint>
#include <optional>
#include <protozero/data_view.hpp>
#include <protozero/types.hpp>
#include <string>
#include <vector>

struct gzFile_s;

namespace unfreed::pprof {

class FieldStream {
  public:
    // Takes over `descriptor`. `name` is for errors, all of them Error (125) with one of the two reasons
    // below.
    FieldStream(int descriptor, std::string name);
    ~FieldStream();
    FieldStream(const FieldStream&) = delete;
    FieldStream& operator=(const FieldStream&) = delete;

    struct Field {
        std::uint32_t tag = 0;
        protozero::pbf_wire_type type = protozero::pbf_wire_type::unknown;
        std::uint64_t number = 0;    // of a varint or a fixed number
        protozero::data_view bytes;  // of a message, string or packed list; valid until the next call
    };
    std::optional<Field> next();  // nothing: the file's end

    // Something that only a profile holds was read: what is wrong from here on is damage, not another format.
    void recognized() { recognized_ = true; }

    [[noreturn]] void corrupt(const std::string& why) const;
    [[noreturn]] void truncated() const;
    [[noreturn]] void foreign(const std::string& why) const;

  private:
    bool fill();  // false: the file's end
    int byte();   // -1: the file's end
    std::uint64_t varint(int first);
    std::uint64_t fixed(int bytes);
    protozero::data_view take(std::uint64_t size);

    std::string name_;
    gzFile_s* gzip_;
    std::vector<char> buffer_;
    std::size_t at_ = 0;
    std::size_t end_ = 0;
    std::string long_field_;  // a field that spans buffers
    bool recognized_ = false;
};

}  // namespace unfreed::pprof
