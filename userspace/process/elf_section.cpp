#include "userspace/process/elf_section.h"

namespace unfreed {

std::optional<GElf_Shdr> find_section(Elf* elf, const std::function<bool(std::string_view)>& is_wanted) {
    std::size_t names = 0;
    if (elf == nullptr || elf_getshdrstrndx(elf, &names) != 0) return std::nullopt;
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr) continue;
        const char* const name = elf_strptr(elf, names, header.sh_name);
        if (name != nullptr && is_wanted(name)) return header;
    }
    return std::nullopt;
}

}  // namespace unfreed
