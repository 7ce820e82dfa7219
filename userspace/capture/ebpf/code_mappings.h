// Where a process has code: its executable mappings, as /proc/PID/maps names them, and the way to open their
// files.
#pragma once
#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/process/descriptor.h"

namespace unfreed::ebpf {

// A mapped file, however many processes map it and under whatever name.
struct FileId {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;  // 0: no file
    auto operator<=>(const FileId&) const = default;
};

struct CodeMapping {
    std::uint64_t begin = 0;  // addresses in the process
    std::uint64_t end = 0;
    std::uint64_t offset = 0;  // in the file, of `begin`
    FileId file;
    std::string path;  // as the process named it; "[vdso]"; empty: anonymous
    bool operator==(const CodeMapping&) const = default;
};

// By ascending address; the kernel's own pages but [vdso] are left out. Nothing: the process is gone or not
// ours.
std::optional<std::vector<CodeMapping>> read_code_mappings(pid_t pid);

// Opens a mapping's file: by the kernel's own link, which also leads to deleted files, else in the process's
// root.
Descriptor open_mapped_file(pid_t pid, const CodeMapping& mapping);

}  // namespace unfreed::ebpf
