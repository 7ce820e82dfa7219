// Finds the call frame information in an ELF file: by its sections, else (no section headers) by its
// segments.
#include <elf.h>
#include <gelf.h>
#include <libelf.h>

#include <cstring>
#include <memory>

#include "symbolizer/unwind/cfi_reader.h"
#include "symbolizer/unwind/go_rows.h"
#include "symbolizer/unwind/unwind_table.h"

namespace unfreed::unwind {
namespace {

struct EndElf {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using OwnedElf = std::unique_ptr<Elf, EndElf>;

std::span<const std::byte> bytes_of(const Elf_Data* data) {
    if (data == nullptr || data->d_buf == nullptr) return {};
    return {static_cast<const std::byte*>(data->d_buf), data->d_size};
}

std::vector<GElf_Phdr> segments(Elf* elf) {
    std::vector<GElf_Phdr> all;
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) return all;
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, static_cast<int>(i), &header) != nullptr) all.push_back(header);
    }
    return all;
}

void add_named_sections(Elf* elf, std::vector<FrameSection>& found) {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) return;
    FrameSection debug;
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr || header.sh_type == SHT_NOBITS) continue;
        const char* const name = elf_strptr(elf, names, header.sh_name);
        if (name == nullptr) continue;
        const bool eh = std::strcmp(name, ".eh_frame") == 0;
        if (!eh && std::strcmp(name, ".debug_frame") != 0) continue;
        if ((header.sh_flags & SHF_COMPRESSED) && elf_compress(section, 0, 0) < 0) continue;
        const auto bytes = bytes_of(eh ? elf_rawdata(section, nullptr) : elf_getdata(section, nullptr));
        if (bytes.empty()) continue;
        if (eh) {
            found.push_back({bytes, header.sh_addr, false});
        } else {
            debug = {bytes, 0, true};
        }
    }
    if (debug.debug_frame) found.push_back(debug);  // last: .eh_frame is what the program itself unwinds by
}

// Without section headers: PT_GNU_EH_FRAME leads to .eh_frame_hdr, whose first pointer leads to .eh_frame,
// which ends with its terminator.
void add_by_segment(Elf* elf, const std::vector<GElf_Phdr>& headers, std::vector<FrameSection>& found) {
    std::size_t size = 0;
    const char* const image = elf_rawfile(elf, &size);
    if (image == nullptr) return;
    const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(image), size);
    const auto at_address = [&](std::uint64_t address) -> FrameSection {
        for (const GElf_Phdr& segment : headers) {
            if (segment.p_type != PT_LOAD || address < segment.p_vaddr ||
                address - segment.p_vaddr >= segment.p_filesz || segment.p_offset > size ||
                segment.p_filesz > size - segment.p_offset) {
                continue;
            }
            const std::uint64_t skip = address - segment.p_vaddr;
            return {file.subspan(segment.p_offset + skip, segment.p_filesz - skip), address, false};
        }
        return {};
    };
    for (const GElf_Phdr& segment : headers) {
        if (segment.p_type != PT_GNU_EH_FRAME) continue;
        const FrameSection header = at_address(segment.p_vaddr);
        Cursor cursor(header.bytes, header.address);
        const auto version = cursor.take<std::uint8_t>();
        const auto encoding = cursor.take<std::uint8_t>();
        cursor.take<std::uint16_t>();
        const std::uint64_t address = cursor.pointer(encoding);
        if (version != 1 || cursor.failed()) continue;
        const FrameSection section = at_address(address);
        if (!section.bytes.empty()) found.push_back(section);
    }
}

UnwindTable compile(Elf* elf) {
    GElf_Ehdr header;
    if (elf == nullptr || elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == nullptr ||
        header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64) {
        return {};
    }
    const auto headers = segments(elf);
    std::vector<AddressRange> code;
    for (const GElf_Phdr& segment : headers) {
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) && segment.p_memsz != 0 &&
            segment.p_vaddr + segment.p_memsz > segment.p_vaddr) {
            code.push_back({segment.p_vaddr, segment.p_vaddr + segment.p_memsz});
        }
    }
    std::vector<FrameSection> sections;
    add_named_sections(elf, sections);
    if (sections.empty() || sections.front().debug_frame) {
        const auto named = sections;
        sections.clear();
        add_by_segment(elf, headers, sections);
        sections.insert(sections.end(), named.begin(), named.end());
    }
    UnwindTable table = compile_sections(sections, code);
    if (const auto go = go_rows(elf)) put_in_place(*go, table);
    return table;
}

}  // namespace

UnwindTable compile_file(int descriptor) {
    elf_version(EV_CURRENT);
    return compile(OwnedElf(elf_begin(descriptor, ELF_C_READ_MMAP, nullptr)).get());
}

UnwindTable compile_image(std::span<const std::byte> image) {
    elf_version(EV_CURRENT);
    // libelf takes a writable image but writes to none that it was only asked to read.
    auto* const writable = const_cast<char*>(reinterpret_cast<const char*>(image.data()));
    return compile(OwnedElf(elf_memory(writable, image.size())).get());
}

}  // namespace unfreed::unwind
