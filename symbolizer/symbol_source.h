// Names by symbol tables (.symtab, .dynsym, and that of .gnu_debugdata), in one pass over each table: no copy
// or index of the symbols is made, so that memory depends on the addresses asked, not on the size of the
// file.
#pragma once
#include <vector>

#include "symbolizer/elf_file.h"
#include "symbolizer/name_source.h"

namespace unfreed::symbolizer {

class SymbolSource final : public NameSource {
  public:
    // `files` outlive this. Of each its .symtab is read, or where it has none, its .dynsym.
    explicit SymbolSource(std::vector<const ElfFile*> files) : files_(std::move(files)) {}
    void name(std::span<Query> queries, FunctionTable& functions) override;
    // After name(): all functions are there, not just those that the file exports.
    bool complete() const { return complete_; }

  private:
    std::vector<const ElfFile*> files_;
    bool complete_ = false;
};

}  // namespace unfreed::symbolizer
