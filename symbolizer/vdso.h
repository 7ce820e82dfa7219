// The kernel's page of code in every process, which has no file: read from our own address space, where the
// same kernel maps the same image. (A profile from another kernel has another build-id, and is told apart by
// that.)
#pragma once
#include <string_view>

#include "symbolizer/elf_file.h"

namespace unfreed::symbolizer {

bool is_vdso(std::string_view path);
ElfFile::Opened open_vdso();

}  // namespace unfreed::symbolizer
