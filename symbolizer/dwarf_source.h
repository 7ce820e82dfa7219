// Names, files, lines and inlined frames by DWARF (2 to 5; shared parts in a dwz file, split units where
// their .dwo is there), with libdw.
#pragma once
#include <elfutils/libdw.h>

#include <memory>
#include <unordered_map>

#include "symbolizer/debug_file.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/name_source.h"

namespace unfreed::symbolizer {

class DwarfSource final : public NameSource {
  public:
    // Null: the file has no DWARF. `file` outlives the source.
    static std::unique_ptr<DwarfSource> open(const ElfFile& file, const Options& options);
    ~DwarfSource() override { close(); }
    DwarfSource(const DwarfSource&) = delete;
    DwarfSource& operator=(const DwarfSource&) = delete;

    void name(std::span<Query> queries, FunctionTable& functions) override;
    bool has_lines() const { return has_lines_; }    // after name(): a line table was found
    bool has_inlines() const { return has_units_; }  // after name(): a unit of these addresses was found

  private:
    DwarfSource(const ElfFile& file, const Options& options)
        : file_(file), alternate_file_(find_alternate_file(file, options)) {}
    bool reopen();
    void close();
    struct NamedDie {
        std::string name;
        bool is_linkage_name = false;
        std::string file;
        std::uint32_t line = 0;
    };
    struct Unit;
    void name_unit(Dwarf_Off unit, std::span<Query* const> queries, FunctionTable& functions);
    void name_query(Unit& unit, std::span<Dwarf_Die> frames, Query& query, FunctionTable& functions);
    const NamedDie& named(Dwarf_Die& function, bool has_scopes);

    const ElfFile& file_;
    std::unique_ptr<ElfFile> alternate_file_;
    Dwarf* alternate_ = nullptr;
    Dwarf* dwarf_ = nullptr;
    std::unordered_map<const void*, NamedDie> named_;  // by the DIE that the function's calls refer to
    std::size_t lines_held_ = 0;                       // by libdw, since the handle was opened
    bool has_lines_ = false;
    bool has_units_ = false;
};

}  // namespace unfreed::symbolizer
