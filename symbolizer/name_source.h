// The seam between the ways of naming an address: DWARF, Go's line table, symbol tables. name_addresses()
// asks them one after the other, from the one that knows most; each leaves what it does not know to the next.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "symbolizer/function_table.h"

namespace unfreed::symbolizer {

// One address of the file, and what is known of it so far. Sources only ever add.
struct Query {
    std::uint64_t address = 0;  // as in the file's symbol table
    std::vector<Line> lines;    // frames, innermost first
    bool whole = false;         // lines ends with the function that owns the code: nothing is left to do

    // While not whole, what the frame that owns the code will be called with, once a source knows its name.
    std::string owner_fallback;  // a poorer name for it, used when no source knows better; may be empty
    std::string owner_file;
    std::uint32_t owner_start_line = 0;
    std::uint32_t owner_line = 0;

    // Ends the frames with the owner, called `system_name`.
    void finish(const std::string& system_name, FunctionTable& functions) {
        lines.push_back({functions.intern(system_name, owner_file, owner_start_line), owner_line});
        whole = true;
    }
};

class NameSource {
  public:
    virtual ~NameSource() = default;
    // `queries` are sorted by address, each address once. Queries that are whole already must be left alone.
    virtual void name(std::span<Query> queries, FunctionTable& functions) = 0;
};

}  // namespace unfreed::symbolizer
