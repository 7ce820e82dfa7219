// The runtime's record of one Go module (type moduledata, src/runtime/symtab.go; written by the linker,
// src/cmd/link/internal/ld/symtab.go): where its code starts, and where the data of its functions (go:func.*)
// is.
//
// Stripped files have no symbol for it. It is found as the only place in the data whose first words are
// the addresses and sizes that the line table itself has: never guessed. When it is not found, or its layout
// is not the one of the table's version, there is none, and functions and lines go without inlined frames.
#pragma once
#include <cstdint>
#include <optional>

#include "symbolizer/go/file_image.h"
#include "symbolizer/go/line_table.h"

namespace unfreed::symbolizer::go {

struct ModuleData {
    std::uint64_t address = 0;
    std::uint64_t text = 0;           // runtime.text
    std::uint64_t function_data = 0;  // go:func.*; 0: not found
};

// Only for the layouts of Go 1.18 on.
std::optional<ModuleData> find_module_data(const FileImage& image, const LineTable& table);

}  // namespace unfreed::symbolizer::go
