// .gnu_debugdata: a small ELF file, xz-compressed inside a stripped one, that holds the function symbols
// which .dynsym lacks (Fedora's "MiniDebugInfo",
// https://sourceware.org/gdb/current/onlinedocs/gdb/MiniDebugInfo.html).
#pragma once
#include <memory>

#include "symbolizer/elf_file.h"

namespace unfreed::symbolizer {

// Null: the file has none, or it is damaged.
std::unique_ptr<ElfFile> mini_debug_info(const ElfFile& file);

}  // namespace unfreed::symbolizer
