#include "userspace/capture/preload/module_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace unfreed {
namespace {

struct Mapping {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t inode = 0;
    dev_t device = 0;
    bool code = false;
    std::string path;
};

// One line of /proc/PID/maps (proc(5)).
bool parse(const std::string& line, Mapping& mapping) {
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    char permissions[5] = {};
    int path = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &mapping.start,
                    &mapping.end, permissions, &major_number, &minor_number, &mapping.inode, &path) != 6)
        return false;
    mapping.device = makedev(major_number, minor_number);
    mapping.code = permissions[2] == 'x';
    mapping.path = line.substr(static_cast<std::size_t>(path));
    return true;
}

// By inode alone: on stacked file systems the device in maps is another than stat's.
bool leads_to(const std::string& path, const Mapping& mapping) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && status.st_ino == mapping.inode;
}

Descriptor open_mapped(pid_t pid, const Mapping& mapping) {
    const std::string file = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.start, mapping.end);
    Descriptor opened(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    // Without CAP_SYS_ADMIN that folder is closed to us; the executable has another way.
    const std::string executable = fmt::format("/proc/{}/exe", pid);
    if (!opened && leads_to(executable, mapping))
        opened = Descriptor(open(executable.c_str(), O_RDONLY | O_CLOEXEC));
    return opened;
}

}  // namespace

void ModuleFiles::look_at(pid_t pid, ProcessIndex process) {
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    std::string line;
    while (std::getline(maps, line)) {
        Mapping mapping;
        if (!parse(line, mapping) || !mapping.code || mapping.inode == 0 || mapping.path.empty()) continue;
        const auto place = std::make_pair(process, mapping.start);
        if (descriptors_.contains(place) || leads_to(mapping.path, mapping)) continue;
        Descriptor& file = files_[{mapping.device, mapping.inode}];
        if (!file) file = open_mapped(pid, mapping);
        if (file) descriptors_.emplace(place, file.get());
    }
}

void ModuleFiles::name_kept(Snapshot& snapshot) const {
    if (descriptors_.empty()) return;
    for (Module& module : snapshot.modules) {
        const auto found = descriptors_.lower_bound({module.process, module.start});
        if (found != descriptors_.end() && found->first.first == module.process &&
            found->first.second < module.end)
            module.open_path = fmt::format("/proc/self/fd/{}", found->second);
    }
}

}  // namespace unfreed
