// Names of Go code for name_addresses(): asked before DWARF, since Go's own table is there in stripped files
// too and says what Go's tracebacks say. C and assembly without line tables is left to DWARF and symbols.
#pragma once
#include <memory>

#include "symbolizer/elf_file.h"
#include "symbolizer/go/go_symbols.h"
#include "symbolizer/name_source.h"

namespace unfreed::symbolizer::go {

class GoSource final : public NameSource {
  public:
    // Null: no Go line table in it. `file` outlives the source.
    static std::unique_ptr<GoSource> open(const ElfFile& file);
    void name(std::span<Query> queries, FunctionTable& functions) override;
    bool has_inlines() const { return symbols_.has_inlines(); }

  private:
    explicit GoSource(GoSymbols symbols) : symbols_(std::move(symbols)) {}
    GoSymbols symbols_;
};

}  // namespace unfreed::symbolizer::go
