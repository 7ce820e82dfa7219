// A variable of a living process, read by its type: where a member lies and how big a number is comes from
// the program's own DWARF, so nothing depends on a version of whoever compiled it.
//
// What is not there (a variable, a member, memory) is thrown as Unknown, to be told to the reader of the
// result.
#pragma once
#include <elfutils/libdw.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/rss/live_process.h"

namespace unfreed::rss {

struct Unknown : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class LiveValue {
  public:
    LiveValue(const LiveProcess& process, std::uint64_t address, const Dwarf_Die& type);

    LiveValue operator[](std::string_view member) const;  // of a structure
    bool has(std::string_view member) const;
    LiveValue element(std::uint64_t index) const;  // of an array, or of the array it points to
    LiveValue pointee() const;                     // of a pointer
    std::uint64_t number() const;                  // an integer or pointer of up to 8 bytes
    std::uint64_t address() const { return address_; }
    std::uint64_t size() const;           // bytes
    std::uint64_t element_count() const;  // of an array

  private:
    Dwarf_Die target() const;  // what an array is of, or a pointer is to
    bool find(std::string_view member, Dwarf_Die* found) const;

    const LiveProcess* process_;
    std::uint64_t address_;
    mutable Dwarf_Die type_;  // libdw takes it as non-const, and leaves it
};

// The variables of one package ("runtime") of a file that a process has mapped: all compilation units of that
// name.
class LiveUnit {
  public:
    // `bias`: address in the process = address in the file + bias. Unknown: no DWARF, or no such unit.
    LiveUnit(const LiveProcess& process, const std::string& path, std::uint64_t bias, std::string_view unit);
    LiveUnit(const LiveUnit&) = delete;
    LiveUnit& operator=(const LiveUnit&) = delete;
    ~LiveUnit();

    LiveValue variable(std::string_view name) const;

  private:
    const LiveProcess* process_;
    std::uint64_t bias_;
    int descriptor_ = -1;
    Dwarf* dwarf_ = nullptr;
    std::vector<Dwarf_Die> units_;
};

}  // namespace unfreed::rss
