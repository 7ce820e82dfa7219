#include "userspace/capture/ebpf/needed_libraries.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "userspace/process/descriptor.h"

namespace unfreed::ebpf {
namespace {

namespace fs = std::filesystem;

struct EndElf {
    void operator()(Elf* elf) const { elf_end(elf); }
};

std::vector<std::string> split(const std::string& text, const char* separators) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
        if (end > at) parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

struct Needs {
    std::string interpreter;
    std::vector<std::string> libraries;
    std::vector<std::string> folders;  // DT_RUNPATH, DT_RPATH
};

Needs needs_of(const std::string& path) {
    Needs needs;
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return needs;
    elf_version(EV_CURRENT);
    const std::unique_ptr<Elf, EndElf> elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
    std::size_t count = 0, size = 0;
    if (!elf || elf_getphdrnum(elf.get(), &count) != 0) return needs;
    const char* const bytes = elf_rawfile(elf.get(), &size);
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf.get(), static_cast<int>(i), &header) == nullptr || header.p_type != PT_INTERP)
            continue;
        if (header.p_filesz > 1 && header.p_offset < size && header.p_filesz <= size - header.p_offset) {
            needs.interpreter.assign(bytes + header.p_offset, header.p_filesz - 1);
        }
    }
    const std::string origin = fs::path(path).parent_path();
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_DYNAMIC ||
            header.sh_entsize == 0) {
            continue;
        }
        Elf_Data* const data = elf_getdata(section, nullptr);
        GElf_Dyn entry;
        for (int i = 0; data != nullptr && gelf_getdyn(data, i, &entry) != nullptr && entry.d_tag != DT_NULL;
             ++i) {
            const bool is_path = entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH;
            if (entry.d_tag != DT_NEEDED && !is_path) continue;
            const char* const text = elf_strptr(elf.get(), header.sh_link, entry.d_un.d_val);
            if (text == nullptr) continue;
            if (!is_path) needs.libraries.emplace_back(text);
            for (std::string folder : is_path ? split(text, ":") : std::vector<std::string>()) {
                if (const auto at = folder.find("$ORIGIN"); at != std::string::npos)
                    folder.replace(at, 7, origin);
                needs.folders.push_back(folder);
            }
        }
    }
    return needs;
}

std::vector<std::string> system_folders() {
    std::vector<std::string> folders;
    if (const char* const own = std::getenv("LD_LIBRARY_PATH")) folders = split(own, ":;");
    std::error_code ignored;
    std::vector<fs::path> lists;
    for (const auto& entry : fs::directory_iterator("/etc/ld.so.conf.d", ignored))
        lists.push_back(entry.path());
    std::sort(lists.begin(), lists.end());
    for (const fs::path& list : lists) {
        std::ifstream lines(list);
        for (std::string line; std::getline(lines, line);) {
            if (line.starts_with("/")) folders.push_back(line);
        }
    }
    for (const char* const usual : {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64",
                                    "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}) {
        folders.emplace_back(usual);
    }
    return folders;
}

}  // namespace

std::vector<std::string> libraries_of(const std::string& executable) {
    std::string program = executable;
    std::vector<std::string> found;
    // A script: its interpreter is what is exec'ed (env finds another one, and execs again).
    for (int level = 0; level < 4; ++level) {
        std::array<char, 2> magic{};
        std::ifstream file(program, std::ios::binary);
        file.read(magic.data(), magic.size());
        if (magic[0] != '#' || magic[1] != '!') break;
        std::string line;
        std::getline(file, line);
        const auto words = split(line, " \t\r");
        if (words.empty()) break;
        program = words[0];
    }
    const auto folders = system_folders();
    std::vector<std::string> pending{program};
    const auto add = [&](const std::string& path) {
        if (std::find(pending.begin(), pending.end(), path) == pending.end()) pending.push_back(path);
    };
    if (const char* const preload = std::getenv("LD_PRELOAD")) {
        for (const std::string& path : split(preload, ": ")) add(path);
    }
    for (std::size_t i = 0; i < pending.size(); ++i) {
        const Needs needs = needs_of(pending[i]);
        if (!needs.interpreter.empty()) add(needs.interpreter);
        for (const std::string& library : needs.libraries) {
            if (library.find('/') != std::string::npos) {
                add(library);
                continue;
            }
            for (const auto* const places : {&needs.folders, &folders}) {
                const auto place =
                    std::find_if(places->begin(), places->end(), [&](const std::string& folder) {
                        return access((folder + "/" + library).c_str(), R_OK) == 0;
                    });
                if (place == places->end()) continue;
                add(*place + "/" + library);
                break;
            }
        }
    }
    return pending;
}

}  // namespace unfreed::ebpf
