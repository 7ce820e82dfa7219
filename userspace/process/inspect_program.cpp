#include "userspace/process/inspect_program.h"

#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "userspace/error.h"
#include "userspace/process/descriptor.h"

namespace unfreed {
namespace {

constexpr int kMaxInterpreters = 5;           // as many #! lines as Linux follows
constexpr std::size_t kFirstLineBytes = 256;  // what Linux reads of a file to tell what it is

[[noreturn]] void cannot_run(const std::string& path, const std::string& why) {
    throw Error(path, why, "check the file and its permissions", kExitCannotRun);
}

bool is_regular_file(const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

// Throws when `path` is there but an exec of it would fail; false when it is not there.
bool is_runnable(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return false;
        cannot_run(path, std::strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) cannot_run(path, "is a folder");
    if (!S_ISREG(status.st_mode)) cannot_run(path, "is not a regular file");
    if (faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) cannot_run(path, "is not executable");
    return true;
}

std::string find_command(const std::string& command, const char* search_path) {
    if (command.find('/') != std::string::npos) {
        if (is_runnable(command)) return command;
        throw Error(command, "no such file", "check the path of the command", kExitNotFound);
    }
    std::string_view folders = search_path != nullptr ? search_path : "/bin:/usr/bin";
    std::string unusable;
    while (!command.empty()) {
        const std::string_view folder = folders.substr(0, folders.find(':'));
        std::string candidate = (folder.empty() ? "." : std::string(folder)) + "/" + command;
        if (is_regular_file(candidate)) {
            if (faccessat(AT_FDCWD, candidate.c_str(), X_OK, AT_EACCESS) == 0) return candidate;
            if (unusable.empty()) unusable = candidate;
        }
        if (folder.size() == folders.size()) break;
        folders.remove_prefix(folder.size() + 1);
    }
    if (!unusable.empty()) cannot_run(unusable, "is not executable");
    throw Error(command, "command not found", "check its name and PATH", kExitNotFound);
}

std::string read_beginning(const std::string& path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string bytes(kFirstLineBytes, '\0');
    const ssize_t count = file ? pread(file.get(), bytes.data(), bytes.size(), 0) : 0;
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return bytes;
}

// The program named by a #! line; empty when the file does not begin with one.
std::string interpreter_of(std::string_view beginning) {
    if (!beginning.starts_with("#!")) return {};
    std::string_view line = beginning.substr(2, beginning.find('\n') - 2);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return std::string(line.substr(0, line.find_first_of(" \t\r\0")));
}

bool gains_privileges(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
    const bool other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != getuid();
    const bool other_group =
        (status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != getgid();
    const bool capabilities = getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
    return other_user || other_group || capabilities;
}

struct ElfFacts {
    std::string loader;  // PT_INTERP; empty: none
    bool is_loader = false;
    bool defines_malloc = false;
    bool needs_asan = false;  // links AddressSanitizer's library, which ends a program whose first it is not
};

bool table_defines_malloc(Elf* elf, Elf_Scn* section, const GElf_Shdr& header) {
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr || header.sh_entsize == 0) return false;
    const auto count = static_cast<int>(std::min<GElf_Xword>(header.sh_size / header.sh_entsize, INT32_MAX));
    for (int i = 0; i < count; ++i) {
        GElf_Sym symbol;
        if (gelf_getsym(data, i, &symbol) == nullptr) break;
        if (symbol.st_shndx == SHN_UNDEF || GELF_ST_TYPE(symbol.st_info) != STT_FUNC) continue;
        const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
        if (name != nullptr && std::strcmp(name, "malloc") == 0) return true;
    }
    return false;
}

ElfFacts read_elf_facts(Elf* elf) {
    ElfFacts facts;
    std::size_t count = 0;
    std::size_t file_size = 0;
    const char* bytes = elf_rawfile(elf, &file_size);
    if (elf_getphdrnum(elf, &count) != 0) count = 0;
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_INTERP)
            continue;
        if (bytes == nullptr || header.p_offset > file_size || header.p_filesz > file_size - header.p_offset)
            continue;
        const std::string_view name(bytes + header.p_offset, header.p_filesz);
        facts.loader = std::string(name.substr(0, name.find('\0')));
    }
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr) continue;
        if (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB)
            facts.defines_malloc = facts.defines_malloc || table_defines_malloc(elf, section, header);
        if (header.sh_type != SHT_DYNAMIC) continue;
        Elf_Data* data = elf_getdata(section, nullptr);
        GElf_Dyn entry;
        for (int i = 0; data != nullptr && gelf_getdyn(data, i, &entry) != nullptr && entry.d_tag != DT_NULL;
             ++i) {
            if (entry.d_tag != DT_SONAME && entry.d_tag != DT_NEEDED) continue;
            const char* text = elf_strptr(elf, header.sh_link, entry.d_un.d_val);
            const std::string_view name = text == nullptr ? "" : text;
            if (entry.d_tag == DT_SONAME)
                facts.is_loader = name.starts_with("ld-linux");
            else if (name.starts_with("libasan.so") || name.starts_with("libclang_rt.asan"))
                facts.needs_asan = true;
        }
    }
    return facts;
}

void inspect_binary(Program& program) {
    const Descriptor file(open(program.binary.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return;  // executable but not readable: nothing is known of it; it may be traced or not
    Elf64_Ehdr header{};
    const ssize_t got = pread(file.get(), &header, sizeof header, 0);
    if (got < EI_NIDENT || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        cannot_run(program.binary, "is not a program that this machine can run");
    if (header.e_machine == EM_386 && header.e_ident[EI_CLASS] == ELFCLASS32) {
        program.obstacle = "it is a 32-bit program";
        return;
    }
    if (header.e_machine != EM_X86_64)
        cannot_run(program.binary, "was built for another kind of processor than this machine's");
    if (header.e_ident[EI_CLASS] == ELFCLASS32) {
        program.obstacle = "it uses the x32 convention of 32-bit pointers";
        return;
    }
    if (got < static_cast<ssize_t>(sizeof header) || (header.e_type != ET_EXEC && header.e_type != ET_DYN))
        cannot_run(program.binary, "is not a complete program");

    elf_version(EV_CURRENT);
    Elf* elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
    if (elf == nullptr) cannot_run(program.binary, "cannot be read as ELF");
    const ElfFacts facts = read_elf_facts(elf);
    elf_end(elf);

    if (facts.loader.empty() && !facts.is_loader)
        program.preload_obstacle = "it is linked statically";
    else if (facts.loader.find("ld-musl") != std::string::npos)
        program.preload_obstacle = "it uses the musl C library";
    else if (gains_privileges(program.binary))
        program.preload_obstacle = "it gains privileges when it starts (setuid, setgid or file capabilities)";
    else if (facts.defines_malloc)
        program.preload_obstacle = "it defines its own malloc";
    else if (facts.needs_asan)
        program.preload_obstacle =
            "it is built with AddressSanitizer, which lets no library come before its own";
}

}  // namespace

Program inspect_program(const std::string& command, const char* search_path) {
    Program program;
    program.path = find_command(command, search_path);
    program.binary = program.path;
    std::string beginning = read_beginning(program.binary);
    for (int i = 0;; ++i) {
        const std::string interpreter = interpreter_of(beginning);
        if (interpreter.empty()) break;
        if (i == kMaxInterpreters)
            cannot_run(program.path, "its #! lines lead from script to script too often");
        if (!is_runnable(interpreter))
            cannot_run(program.path, "its interpreter " + interpreter + " does not exist");
        program.binary = interpreter;
        beginning = read_beginning(program.binary);
    }
    const bool elf = beginning.starts_with(std::string_view(ELFMAG, SELFMAG));
    const bool text = beginning.find('\0') == std::string::npos;
    if (!elf && text && program.binary == program.path && access(program.path.c_str(), R_OK) == 0) {
        program.shell_script = true;
        program.binary = "/bin/sh";
    }
    inspect_binary(program);
    return program;
}

}  // namespace unfreed
