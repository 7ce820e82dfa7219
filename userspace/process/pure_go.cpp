#include "userspace/process/pure_go.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string_view>

#include "userspace/process/descriptor.h"
#include "userspace/process/elf_section.h"

namespace unfreed {
bool is_pure_go(const std::string& executable) {
    const Descriptor file(open(executable.c_str(), O_RDONLY | O_CLOEXEC));
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
    // In position-independent programs it is .data.rel.ro.gopclntab.
    const auto has = [&](std::string_view ending) {
        return find_section(elf, [&](std::string_view name) { return name.ends_with(ending); }).has_value();
    };
    const bool pure = has(".gopclntab") && !has(".eh_frame");
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
