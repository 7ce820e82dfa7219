#include "preload/program.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cstring>

#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

constexpr int kMaxSegments = 16;
constexpr int kMaxDynamic = 64;
constexpr int kMaxInterpreters =
    2;  // of a script whose interpreter is a script, the kernel allows a few more

class File {
  public:
    explicit File(const char* path)
        : descriptor_(system_call(SYS_open, word(path), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {}
    ~File() {
        if (descriptor_ >= 0) system_call(SYS_close, descriptor_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    // The bytes read, 0 when there are none.
    size_t read(void* to, size_t bytes, uint64_t offset) const {
        long got = descriptor_ < 0 ? -1
                                   : system_call(SYS_pread64, descriptor_, word(static_cast<char*>(to)),
                                                 static_cast<long>(bytes), static_cast<long>(offset));
        return got > 0 ? static_cast<size_t>(got) : 0;
    }

  private:
    long descriptor_;
};

bool gains_privileges(const char* path) {
    struct stat status {};
    if (system_call(SYS_stat, word(path), word(&status)) != 0) return false;
    const auto user = static_cast<uid_t>(system_call(SYS_geteuid));
    const auto group = static_cast<gid_t>(system_call(SYS_getegid));
    const bool other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != user;
    const bool other_group =
        (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != group;
    const bool capabilities =
        user != 0 && system_call(SYS_getxattr, word(path), word("security.capability"), 0, 0) > 0;
    return (other_user || other_group || capabilities) &&
           system_call(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

class Elf {
  public:
    explicit Elf(const File& file) : file_(file) {
        whole_ = file.read(&header_, sizeof header_, 0) == sizeof header_ &&
                 header_.e_phentsize == sizeof *segments_;
        count_ = header_.e_phnum < kMaxSegments ? header_.e_phnum : kMaxSegments;
        whole_ = whole_ && file.read(segments_, count_ * sizeof *segments_, header_.e_phoff) ==
                               count_ * sizeof *segments_;
    }

    bool is_ours() const { return header_.e_ident[EI_CLASS] == ELFCLASS64 && header_.e_machine == EM_X86_64; }
    bool is_whole() const { return whole_; }
    const Elf64_Phdr* segment(uint32_t type) const {
        for (int i = 0; i < count_; i++)
            if (segments_[i].p_type == type) return &segments_[i];
        return nullptr;
    }
    // Some library that it needs has a name that begins so.
    bool needs(const char* name) const {
        const Elf64_Phdr* dynamic = segment(PT_DYNAMIC);
        Elf64_Dyn entries[kMaxDynamic];
        const size_t count =
            dynamic ? file_.read(entries, sizeof entries, dynamic->p_offset) / sizeof *entries : 0;
        uint64_t strings = 0;
        for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++)
            if (entries[i].d_tag == DT_STRTAB) strings = offset_of(entries[i].d_un.d_ptr);
        for (size_t i = 0; strings != 0 && i < count && entries[i].d_tag != DT_NULL; i++) {
            char text[32] = {};
            if (entries[i].d_tag == DT_NEEDED &&
                file_.read(text, sizeof text - 1, strings + entries[i].d_un.d_val) > 0 &&
                strncmp(text, name, strlen(name)) == 0)
                return true;
        }
        return false;
    }

  private:
    uint64_t offset_of(uint64_t address) const {
        for (int i = 0; i < count_; i++)
            if (segments_[i].p_type == PT_LOAD && address - segments_[i].p_vaddr < segments_[i].p_filesz)
                return address - segments_[i].p_vaddr + segments_[i].p_offset;
        return 0;
    }

    const File& file_;
    Elf64_Ehdr header_{};
    Elf64_Phdr segments_[kMaxSegments]{};
    int count_ = 0;
    bool whole_ = false;
};

Obstacle obstacle_of_elf(const File& file) {
    const Elf elf(file);
    if (!elf.is_ours()) return Obstacle::kOtherLoader;
    if (!elf.is_whole()) return Obstacle::kNone;
    const Elf64_Phdr* loader = elf.segment(PT_INTERP);
    if (!loader) return Obstacle::kNoLoader;
    constexpr const char* kOurs = "/ld-linux-x86-64.so.2";
    char name[256] = {};
    file.read(name, sizeof name - 1 < loader->p_filesz ? sizeof name - 1 : loader->p_filesz,
              loader->p_offset);
    const size_t length = strlen(name);
    if (length < strlen(kOurs) || strcmp(name + length - strlen(kOurs), kOurs) != 0)
        return Obstacle::kOtherLoader;
    return elf.needs("libasan.so") || elf.needs("libclang_rt.asan") ? Obstacle::kSanitizer : Obstacle::kNone;
}

}

Obstacle obstacle_of(const char* path) {
    char interpreter[256];
    for (int scripts = 0; scripts <= kMaxInterpreters; scripts++) {
        const File file(path);
        char start[256] = {};
        const size_t got = file.read(start, sizeof start - 1, 0);
        if (got >= 2 && start[0] == '#' && start[1] == '!') {
            const char* name = start + 2;
            while (*name == ' ' || *name == '\t') name++;
            size_t length = 0;
            while (name[length] > ' ') length++;
            memcpy(interpreter, name, length);
            interpreter[length] = 0;
            path = interpreter;
            continue;
        }
        if (gains_privileges(path)) return Obstacle::kPrivileged;
        return got >= sizeof(Elf64_Ehdr) && memcmp(start, ELFMAG, SELFMAG) == 0 ? obstacle_of_elf(file)
                                                                                : Obstacle::kNone;
    }
    return Obstacle::kNone;
}

}
