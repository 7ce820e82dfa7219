#include "userspace/capture/ebpf/code_mappings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <utility>

namespace unfreed::ebpf {

std::optional<std::vector<CodeMapping>> read_code_mappings(pid_t pid) {
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    if (!maps) return std::nullopt;
    std::vector<CodeMapping> mappings;
    bool any = false;
    for (std::string line; std::getline(maps, line);) {
        any = true;
        CodeMapping mapping;
        char permissions[5] = {};
        unsigned major = 0, minor = 0;
        int name_at = 0;
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
                        &mapping.begin, &mapping.end, permissions, &mapping.offset, &major, &minor,
                        &mapping.file.inode, &name_at) != 7 ||
            permissions[2] != 'x') {
            continue;
        }
        mapping.path = line.substr(static_cast<std::size_t>(name_at));
        if (mapping.file.inode != 0) {
            mapping.file.device = makedev(major, minor);
        } else if (mapping.path == "[vsyscall]" || mapping.path == "[uprobes]") {
            continue;  // not walked through; and the trampoline of return probes is seen through
        } else if (mapping.path != "[vdso]") {
            mapping.path.clear();  // [anon:...], [heap], [stack]: code made at run time
        }
        mappings.push_back(std::move(mapping));
    }
    if (!any) return std::nullopt;  // a zombie, or the end of a process
    return mappings;
}

Descriptor open_mapped_file(pid_t pid, const CodeMapping& mapping) {
    Descriptor file(open(fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.begin, mapping.end).c_str(),
                         O_RDONLY | O_CLOEXEC));
    if (file || mapping.path.empty()) return file;
    const auto open_same = [&](const std::string& path, bool same_device) {
        Descriptor found(open(path.c_str(), O_RDONLY | O_CLOEXEC));
        struct stat status {};
        const bool same = found && fstat(found.get(), &status) == 0 && status.st_ino == mapping.file.inode &&
                          (!same_device || status.st_dev == mapping.file.device);
        return same ? std::move(found) : Descriptor();
    };
    // Where a file system gives its files other devices than its own, the process's own root still tells.
    file = open_same(fmt::format("/proc/{}/root{}", pid, mapping.path), false);
    if (!file) file = open_same(mapping.path, true);  // it has ended meanwhile
    return file;
}

}  // namespace unfreed::ebpf
