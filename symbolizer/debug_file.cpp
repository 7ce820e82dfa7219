#include "symbolizer/debug_file.h"

#include <elfutils/libdwelf.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace unfreed::symbolizer {
namespace {

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::unique_ptr<ElfFile> open_with_build_id(const std::string& path, const std::string& build_id) {
    ElfFile::Opened opened = ElfFile::open(path);
    if (opened.file != nullptr && opened.file->build_id() == build_id) return std::move(opened.file);
    return nullptr;
}

std::unique_ptr<ElfFile> find_by_build_id(const std::string& build_id, const Options& options) {
    if (build_id.size() < 4) return nullptr;
    for (const std::string& root : options.debug_roots) {
        const std::string path =
            root + "/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + ".debug";
        if (auto found = open_with_build_id(path, build_id)) return found;
    }
    return nullptr;
}

bool has_symbols_or_dwarf(const ElfFile& file) {
    return file.section_of_type(SHT_SYMTAB) != nullptr || file.section(".debug_info") != nullptr;
}

GElf_Word crc_of(const ElfFile& file) {
    std::size_t size = 0;
    const char* image = elf_rawfile(file.elf(), &size);
    uLong crc = crc32(0, nullptr, 0);
    while (image != nullptr && size > 0) {
        const std::size_t part = std::min<std::size_t>(size, 1u << 30);  // zlib counts in unsigned int
        crc = crc32(crc, reinterpret_cast<const Bytef*>(image), static_cast<uInt>(part));
        image += part;
        size -= part;
    }
    return static_cast<GElf_Word>(crc);
}

std::unique_ptr<ElfFile> find_by_debuglink(const ElfFile& file, const std::string& path,
                                           const Options& options) {
    GElf_Word crc = 0;
    const char* link = dwelf_elf_gnu_debuglink(file.elf(), &crc);
    // A link is the last part of a path: anything else would lead out of the places below.
    if (link == nullptr || *link == 0 || std::strchr(link, '/') != nullptr) return nullptr;
    const std::string folder = folder_of(path);
    std::vector<std::string> candidates{folder + "/" + link, folder + "/.debug/" + link};
    for (const std::string& root : options.debug_roots)
        candidates.push_back(root + "/" + folder + "/" + link);
    for (const std::string& candidate : candidates) {
        ElfFile::Opened opened = ElfFile::open(candidate);
        // A file whose link carries its own name finds itself first.
        if (opened.file == nullptr || !has_symbols_or_dwarf(*opened.file)) continue;
        const bool both_have_ids = !file.build_id().empty() && !opened.file->build_id().empty();
        const bool same =
            both_have_ids ? file.build_id() == opened.file->build_id() : crc_of(*opened.file) == crc;
        if (same) return std::move(opened.file);
    }
    return nullptr;
}

}  // namespace

std::unique_ptr<ElfFile> find_debug_file(const ElfFile* file, const std::string& path,
                                         const std::string& build_id, const Options& options) {
    if (auto found = find_by_build_id(build_id, options)) return found;
    return file == nullptr ? nullptr : find_by_debuglink(*file, path, options);
}

std::unique_ptr<ElfFile> find_alternate_file(const ElfFile& debug, const Options& options) {
    // The section is a file name, a zero, and the build-id.
    const std::span<const char> link = debug.bytes(".gnu_debugaltlink");
    const std::size_t length = link.empty() ? 0 : strnlen(link.data(), link.size());
    if (length == 0 || length + 1 >= link.size()) return nullptr;
    const std::string name(link.data(), length);
    const std::string build_id = hex(link.subspan(length + 1));
    const std::string path = name[0] == '/' ? name : folder_of(debug.path()) + "/" + name;
    if (auto found = open_with_build_id(path, build_id)) return found;
    return find_by_build_id(build_id, options);
}

}  // namespace unfreed::symbolizer
