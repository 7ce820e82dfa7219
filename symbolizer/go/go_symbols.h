// Names of Go code: functions, files, lines and inlined calls, from what every Go program carries for its own
// tracebacks, so that it works for stripped programs, position-independent ones, c-shared libraries and
// plugins, without DWARF. Go 1.2 and later; inlined calls from Go 1.18 on (see line_table.h, module_data.h).
//
// Reads untrusted bytes: whatever they hold, lookups end and stay within them.
#pragma once
#include <libelf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "symbolizer/go/file_image.h"
#include "symbolizer/go/line_table.h"
#include "symbolizer/go/module_data.h"

namespace unfreed::symbolizer::go {

// Views point into the file: they live as long as the Elf handle.
struct GoFrame {
    std::string_view function;     // as Go names it: main.(*Finder).scan.func1
    std::string_view file;         // empty: not known
    std::uint32_t line = 0;        // 0: not known
    std::uint32_t start_line = 0;  // of the function; 0: not known (before Go 1.20)
};

class GoSymbols {
  public:
    // Nothing: not a 64-bit x86 ELF file with a Go line table that can be read. `elf` outlives the result.
    static std::optional<GoSymbols> open(Elf* elf);

    // The frames at an address of the file, innermost first; the address lies within the call for a frame
    // that has called on, not after it. Empty: not Go code. C and assembly that the Go linker placed itself
    // is named, without file and line.
    std::vector<GoFrame> lookup(std::uint64_t address) const;

    bool has_inlines() const { return module_ && module_->function_data != 0; }
    const LineTable& table() const { return table_; }

  private:
    GoSymbols(std::unique_ptr<const FileImage> image, const LineTable& table);

    std::unique_ptr<const FileImage> image_;  // stays in place: the table points to it
    LineTable table_;
    std::optional<ModuleData> module_;
};

}  // namespace unfreed::symbolizer::go
