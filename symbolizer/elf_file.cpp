#include "symbolizer/elf_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace unfreed::symbolizer {
namespace {

std::string read_build_id(Elf* elf) {
    const void* id = nullptr;
    const ssize_t size = dwelf_elf_gnu_build_id(elf, &id);
    if (size <= 0 || size > 64) return {};
    return hex({static_cast<const char*>(id), static_cast<std::size_t>(size)});
}

// libelf checks every access itself; this only tells "has no symbols" from "has lost them".
bool sections_are_inside(Elf* elf) {
    GElf_Ehdr header;
    if (gelf_getehdr(elf, &header) == nullptr) return false;
    std::size_t count = 0;
    std::size_t names = 0;
    std::size_t file_size = 0;
    if (elf_rawfile(elf, &file_size) == nullptr || elf_getshdrnum(elf, &count) != 0) return false;
    if (count == 0) return header.e_shoff == 0;  // no section headers at all is legal
    if (elf_getshdrstrndx(elf, &names) != 0) return false;
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr shape;
        if (gelf_getshdr(section, &shape) == nullptr) return false;
        if (shape.sh_type == SHT_NOBITS || shape.sh_type == SHT_NULL) continue;
        if (shape.sh_offset > file_size || shape.sh_size > file_size - shape.sh_offset) return false;
    }
    return true;
}

}  // namespace

std::string hex(std::span<const char> bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (char byte : bytes) {
        text += kDigits[static_cast<unsigned char>(byte) >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

ElfFile::~ElfFile() {
    if (elf_ != nullptr) elf_end(elf_);
    if (descriptor_ >= 0) ::close(descriptor_);
}

ElfFile::Opened ElfFile::open(const std::string& path) {
    elf_version(EV_CURRENT);
    std::unique_ptr<ElfFile> file(new ElfFile);
    // Non-blocking: the path may name a fifo or a device by now.
    file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file->descriptor_ < 0)
        return {nullptr, errno == ENOENT || errno == ENOTDIR ? Reason::kNoFile : Reason::kUnreadable};
    struct stat status;
    if (::fstat(file->descriptor_, &status) != 0) return {nullptr, Reason::kUnreadable};
    if (!S_ISREG(status.st_mode)) return {nullptr, Reason::kNotElf};
    file->path_ = path;
    file->elf_ = elf_begin(file->descriptor_, ELF_C_READ_MMAP, nullptr);
    return checked(std::move(file));
}

ElfFile::Opened ElfFile::from_memory(std::vector<char> image) {
    elf_version(EV_CURRENT);
    std::unique_ptr<ElfFile> file(new ElfFile);
    file->image_ = std::move(image);
    file->elf_ = elf_memory(file->image_.data(), file->image_.size());
    return checked(std::move(file));
}

ElfFile::Opened ElfFile::checked(std::unique_ptr<ElfFile> file) {
    if (file->elf_ == nullptr || elf_kind(file->elf_) != ELF_K_ELF) return {nullptr, Reason::kNotElf};
    GElf_Ehdr header;
    if (gelf_getehdr(file->elf_, &header) == nullptr) return {nullptr, Reason::kDamaged};
    file->damaged_ = !sections_are_inside(file->elf_);
    file->build_id_ = read_build_id(file->elf_);
    return {std::move(file), Reason::kNone};
}

Elf_Scn* ElfFile::section(std::string_view name) const {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf_, &names) != 0) return nullptr;
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf_, section)) != nullptr;) {
        GElf_Shdr shape;
        if (gelf_getshdr(section, &shape) == nullptr) continue;
        const char* its_name = elf_strptr(elf_, names, shape.sh_name);
        if (its_name != nullptr && name == its_name) return section;
    }
    return nullptr;
}

Elf_Scn* ElfFile::section_of_type(unsigned sh_type) const {
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf_, section)) != nullptr;) {
        GElf_Shdr shape;
        if (gelf_getshdr(section, &shape) != nullptr && shape.sh_type == sh_type) return section;
    }
    return nullptr;
}

std::span<const char> ElfFile::bytes(std::string_view name) const {
    Elf_Scn* found = section(name);
    GElf_Shdr shape;
    if (found == nullptr || gelf_getshdr(found, &shape) == nullptr || shape.sh_type == SHT_NOBITS) return {};
    const Elf_Data* data = elf_rawdata(found, nullptr);
    if (data == nullptr || data->d_buf == nullptr) return {};
    return {static_cast<const char*>(data->d_buf), data->d_size};
}

}  // namespace unfreed::symbolizer
