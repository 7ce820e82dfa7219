#include "userspace/rss/go_module.h"

#include <fcntl.h>
#include <gelf.h>

#include <set>
#include <string_view>

#include "userspace/process/descriptor.h"
#include "userspace/process/elf_section.h"

namespace unfreed::rss {
namespace {

// What the loader added to the file's addresses, as one of its mappings shows.
std::optional<std::uint64_t> bias_of(Elf* elf, const Mapping& mapping) {
    constexpr std::uint64_t kPage = 4096;
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) return std::nullopt;
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr || segment.p_type != PT_LOAD)
            continue;
        if (segment.p_offset / kPage * kPage == mapping.offset)
            return mapping.start - segment.p_vaddr / kPage * kPage;
    }
    return std::nullopt;
}

}  // namespace

std::optional<GoModule> find_go_module(int pid, const std::vector<Mapping>& mappings) {
    std::set<std::string> seen;
    std::optional<GoModule> found;
    elf_version(EV_CURRENT);
    for (const Mapping& mapping : mappings) {
        if (!mapping.is_file() || mapping.permissions.find('x') == std::string::npos ||
            !seen.insert(mapping.name).second)
            continue;
        const std::string path = "/proc/" + std::to_string(pid) + "/root" + mapping.name;
        const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
        Elf* const elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
        if (elf != nullptr && elf_kind(elf) == ELF_K_ELF &&
            find_section(elf, [](std::string_view name) { return name == ".go.buildinfo"; }))
            if (const auto bias = bias_of(elf, mapping)) found = GoModule{path, mapping.name, *bias};
        elf_end(elf);
        if (found) break;
    }
    return found;
}

}  // namespace unfreed::rss
