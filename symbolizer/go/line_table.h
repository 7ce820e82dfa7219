// Go's own table of functions, files and lines (.gopclntab), which the runtime needs for its tracebacks and
// which therefore survives stripping.
//
// Source of the format: the runtime's reader (Go, src/runtime/symtab.go and type _func in runtime2.go), the
// standard library's (src/debug/gosym/pclntab.go) and the linker that writes it (src/cmd/link/internal/ld/
// pcln.go). Four layouts, told by the magic number:
//
//   0xfffffffb  Go 1.2 to 1.15: one blob, every offset counts from its start; files numbered over all of it
//   0xfffffffa  Go 1.16, 1.17: a header with the offsets of its parts; files numbered per compilation unit
//   0xfffffff0  Go 1.18, 1.19: entries are 32-bit offsets from runtime.text
//   0xfffffff1  Go 1.20 on: the same, and functions know the line they start on. From Go 1.26 on the header
//   no
//               longer names runtime.text: it has to come from the module data (set_text)
//
// Values that change with the pc (file, line, inlining) are run-length tables: pairs of variable-length
// numbers, the change of the value (zigzag) and how many bytes of code it holds for; they start at -1 and end
// with a change of 0.
//
// Reads untrusted bytes: every offset is checked; what is not there reads as nothing.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "symbolizer/go/file_image.h"

namespace unfreed::symbolizer::go {

class LineTable {
  public:
    enum class Layout { kGo12, kGo116, kGo118, kGo120 };

    // A function's record, read.
    struct Function {
        std::uint64_t entry = 0;  // address in the file
        Bytes record;             // of the table, from the record's first byte
        std::uint32_t name = 0, pcsp = 0, pcfile = 0, pcln = 0, npcdata = 0, unit = 0, start_line = 0;
        bool sets_sp = false;  // assembly that sets sp to what no table tells (known since Go 1.17)
    };
    // From one address to another, a value holds.
    struct Run {
        std::uint64_t begin = 0, end = 0;
        std::int32_t value = 0;
    };

    // The table at `address` of `image`; nothing when there is none. `image` outlives the table.
    static std::optional<LineTable> at(const FileImage& image, std::uint64_t address);

    Layout layout() const { return layout_; }
    std::uint64_t address() const { return address_; }
    std::uint64_t function_count() const { return count_; }
    std::uint64_t text() const { return text_; }  // 0: not known (or a layout that does not need it)
    void set_text(std::uint64_t text) { text_ = text; }

    // Addresses of the parts, for who wants to recognize them elsewhere.
    std::uint64_t part_address(unsigned part) const { return address_ + part_offset_[part]; }
    enum Part : unsigned { kNames, kUnits, kFiles, kValues, kFunctions };

    // The function whose code holds `address`: the last one that starts at or before it.
    std::optional<Function> function_at(std::uint64_t address) const;
    std::optional<Function> function(std::uint64_t index) const;
    // Where function `index` starts; index function_count(): where the last one ends.
    std::optional<std::uint64_t> entry(std::uint64_t index) const;

    std::string_view name(std::uint32_t name_offset) const;                        // empty: none
    std::string_view file(const Function& function, std::uint64_t address) const;  // empty: not known
    std::uint32_t line(const Function& function, std::uint64_t address) const;     // 0: not known
    // How far sp is from the return address, in bytes, all along the function, which ends at `end`; empty:
    // not known.
    std::vector<Run> frame_sizes(const Function& function, std::uint64_t end) const;
    // The value at `address` of the function's pc-indexed data `table` (funcdata.h); -1: none.
    std::int32_t pc_data(const Function& function, unsigned table, std::uint64_t address) const;
    // Offset of the function's data `index` from go:func.*, in the layouts that have offsets (1.18 on).
    std::optional<std::uint32_t> function_data(const Function& function, unsigned index) const;

  private:
    LineTable() = default;
    bool read_parts();
    // Gives `each` the runs of a table of the function, until it returns false or they end.
    template <typename Each>
    void runs(const Function& function, std::uint32_t table, Each each) const;
    std::optional<std::int32_t> value(const Function& function, std::uint32_t table,
                                      std::uint64_t address) const;
    bool wide() const { return layout_ == Layout::kGo12 || layout_ == Layout::kGo116; }
    unsigned field(unsigned index) const;  // byte offset in a record of its index-th 32-bit field

    const FileImage* image_ = nullptr;
    Layout layout_ = Layout::kGo12;
    std::uint64_t address_ = 0, count_ = 0, text_ = 0;
    unsigned quantum_ = 1;  // bytes of code per unit of a run
    Bytes whole_;           // from the header to the end of what may belong to the table
    std::uint64_t part_offset_[5] = {};
    std::uint64_t functions_offset_ = 0;  // of the array of (entry, record) pairs
    std::uint64_t file_count_ = 0;        // Go 1.2's one array of files
};

}  // namespace unfreed::symbolizer::go
