#include "userspace/process/pure_go.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>

#include <string_view>

#include "userspace/process/descriptor.h"

namespace unfreed {
namespace {

bool has_section(Elf* elf, std::string_view wanted) {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) return false;
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr) continue;
        const char* const name = elf_strptr(elf, names, header.sh_name);
        if (name != nullptr && std::string_view(name).ends_with(wanted)) return true;
    }
    return false;
}

}  // namespace

bool is_pure_go(const std::string& executable) {
    const Descriptor file(open(executable.c_str(), O_RDONLY | O_CLOEXEC));
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
    if (elf == nullptr) return false;
    // In position-independent programs it is .data.rel.ro.gopclntab.
    const bool pure = has_section(elf, ".gopclntab") && !has_section(elf, ".eh_frame");
    elf_end(elf);
    return pure;
}

std::string pure_go_note(const std::string& name) {
    return fmt::format(
        "{} is pure Go, without cgo: it calls no malloc, and what its own heap holds is not recorded, "
        "mappings at "
        "most; `unfreed rss PID` tells how much memory that heap has, Go's heap profile (pprof) who asked "
        "for it",
        name);
}

}  // namespace unfreed
