#include "symbolizer/go/file_image.h"

#include <gelf.h>

#include <algorithm>

namespace unfreed::symbolizer::go {
namespace {

Bytes part(Bytes file, std::uint64_t offset, std::uint64_t size) {
    if (offset > file.size() || file.size() - offset < size) return {};
    return file.subspan(offset, size);
}

std::string_view string_at(Bytes strings, std::uint64_t offset) {
    const Bytes rest = tail(strings, offset);
    const auto end = std::find(rest.begin(), rest.end(), 0);
    if (end == rest.end()) return {};
    return {reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(end - rest.begin())};
}

}  // namespace

FileImage::FileImage(Elf* elf) {
    GElf_Ehdr header;
    if (gelf_getehdr(elf, &header) == nullptr || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != EM_X86_64)
        return;
    std::size_t size = 0;
    const char* raw = elf_rawfile(elf, &size);
    if (raw == nullptr) return;
    const Bytes file{reinterpret_cast<const std::uint8_t*>(raw), size};
    add_segments(elf, file);
    add_sections(elf, file);
}

void FileImage::add_segments(Elf* elf, Bytes file) {
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) return;
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_LOAD) continue;
        const Bytes bytes = part(file, header.p_offset, header.p_filesz);
        if (!bytes.empty()) segments_.push_back({header.p_vaddr, bytes});
    }
}

void FileImage::add_sections(Elf* elf, Bytes file) {
    GElf_Ehdr elf_header;
    std::size_t names = 0;
    if (gelf_getehdr(elf, &elf_header) == nullptr || elf_getshdrstrndx(elf, &names) != 0) return;
    GElf_Shdr header;
    if (gelf_getshdr(elf_getscn(elf, names), &header) == nullptr) return;
    const Bytes strings = part(file, header.sh_offset, header.sh_size);
    for (Elf_Scn* scn = elf_nextscn(elf, nullptr); scn != nullptr; scn = elf_nextscn(elf, scn)) {
        if (gelf_getshdr(scn, &header) == nullptr) continue;
        if ((header.sh_flags & SHF_ALLOC) == 0 || header.sh_type == SHT_NOBITS) continue;
        const Bytes bytes = part(file, header.sh_offset, header.sh_size);
        if (bytes.empty()) continue;
        if (header.sh_type == SHT_RELA && elf_header.e_type == ET_DYN) add_relocations(bytes);
        sections_.push_back({string_at(strings, header.sh_name), header.sh_addr, bytes});
    }
    std::sort(relocations_.begin(), relocations_.end(),
              [](const Relocation& a, const Relocation& b) { return a.address < b.address; });
}

void FileImage::add_relocations(Bytes table) {
    Elf64_Rela entry;
    for (std::size_t at = 0; table.size() - at >= sizeof entry; at += sizeof entry) {
        std::memcpy(&entry, table.data() + at, sizeof entry);
        if (ELF64_R_TYPE(entry.r_info) == R_X86_64_RELATIVE)
            relocations_.push_back({entry.r_offset, static_cast<std::uint64_t>(entry.r_addend)});
    }
}

Bytes FileImage::from(std::uint64_t address) const {
    for (const Segment& segment : segments_) {
        if (address >= segment.address && address - segment.address < segment.bytes.size())
            return segment.bytes.subspan(address - segment.address);
    }
    return {};
}

std::optional<std::uint64_t> FileImage::pointer(std::uint64_t address) const {
    const auto found =
        std::lower_bound(relocations_.begin(), relocations_.end(), address,
                         [](const Relocation& entry, std::uint64_t key) { return entry.address < key; });
    if (found != relocations_.end() && found->address == address) return found->value;
    return number_at<std::uint64_t>(from(address), 0);
}

}  // namespace unfreed::symbolizer::go
