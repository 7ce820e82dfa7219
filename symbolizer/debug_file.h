// Finds the file that `strip` or a distribution's -dbg package put the symbols and the DWARF into, by the
// rules of gdb (https://sourceware.org/gdb/current/onlinedocs/gdb/Separate-Debug-Files.html). Nothing is
// believed by its name: a build-id must be the same, and where there is none, .gnu_debuglink's CRC.
#pragma once
#include <memory>
#include <string>

#include "symbolizer/elf_file.h"

namespace unfreed::symbolizer {

// For a module with `build_id` (may be empty) that is read from `file` (null when it cannot be) and was
// called `path` in the process. Null: none found.
std::unique_ptr<ElfFile> find_debug_file(const ElfFile* file, const std::string& path,
                                         const std::string& build_id, const Options& options);

// The dwz file that debug file `debug` shares its common parts with (.gnu_debugaltlink). Null: none, or not
// found.
std::unique_ptr<ElfFile> find_alternate_file(const ElfFile& debug, const Options& options);

}  // namespace unfreed::symbolizer
