// An ELF file, or an ELF image in memory, open for reading by libelf. Owns descriptor, mapping and handle.
//
// Files are mapped, not read: of a 300 MB binary only the pages of its symbol table become resident.
#pragma once
#include <libelf.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "symbolizer/symbolizer.h"

namespace unfreed::symbolizer {

class ElfFile {
  public:
    struct Opened {
        std::unique_ptr<ElfFile> file;  // null exactly when reason is not kNone
        Reason reason = Reason::kNone;
    };
    static Opened open(const std::string& path);
    static Opened from_memory(std::vector<char> image);

    ~ElfFile();
    ElfFile(const ElfFile&) = delete;
    ElfFile& operator=(const ElfFile&) = delete;

    Elf* elf() const { return elf_; }
    const std::string& path() const { return path_; }  // as opened; empty for an image in memory
    const std::string& build_id() const { return build_id_; }
    bool damaged() const { return damaged_; }  // its section headers point outside of it

    Elf_Scn* section(std::string_view name) const;     // null: none
    Elf_Scn* section_of_type(unsigned sh_type) const;  // the first; null: none
    std::span<const char> bytes(
        std::string_view name) const;  // empty: no such section, or no bytes in the file

  private:
    ElfFile() = default;
    static Opened checked(std::unique_ptr<ElfFile> file);

    std::string path_;
    std::string build_id_;
    std::vector<char> image_;
    int descriptor_ = -1;
    Elf* elf_ = nullptr;
    bool damaged_ = false;
};

std::string hex(std::span<const char> bytes);  // lower case, as build-ids are written

}  // namespace unfreed::symbolizer
