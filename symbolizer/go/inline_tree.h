// Which calls were inlined into a Go function at one of its addresses.
//
// Source of the format: type inlinedCall in Go's src/runtime/symtab.go (1.18, 1.19: 20 bytes) and
// symtabinl.go (1.20 on: 16 bytes), funcdata.h for the numbers of the tables. The pc data "inline tree index"
// says which entry of the function's tree the address belongs to; the entry names the function that was
// inlined, and an address (parent pc) that stands for the call, in whatever it was inlined into.
#pragma once
#include <cstdint>
#include <vector>

#include "symbolizer/go/file_image.h"
#include "symbolizer/go/line_table.h"

namespace unfreed::symbolizer::go {

struct InlinedCall {
    std::uint32_t name = 0;        // of the inlined function, as in LineTable::name
    std::uint32_t start_line = 0;  // where it starts; 0: not known
    std::uint64_t address = 0;     // where its caller stands
};

// Innermost first; empty: nothing is inlined there, or the tree contradicts itself. `function_data`: address
// of go:func.*.
std::vector<InlinedCall> inlined_calls(const FileImage& image, const LineTable& table,
                                       std::uint64_t function_data, const LineTable::Function& function,
                                       std::uint64_t address);

// Whether what `function_data` leads to are trees: of the first functions that should have one, each has a
// first entry that names a function and an instruction of its own.
bool holds_inline_trees(const FileImage& image, const LineTable& table, std::uint64_t function_data);

}  // namespace unfreed::symbolizer::go
