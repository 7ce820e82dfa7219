// A section of an ELF file by its name.
#pragma once
#include <gelf.h>

#include <functional>
#include <optional>
#include <string_view>

namespace unfreed {

// The first one whose name `is_wanted`; nothing: none, or no ELF file that can be read (null too).
std::optional<GElf_Shdr> find_section(Elf* elf, const std::function<bool(std::string_view)>& is_wanted);

}  // namespace unfreed
