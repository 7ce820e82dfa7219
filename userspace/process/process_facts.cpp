#include "userspace/process/process_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "userspace/process/descriptor.h"

namespace unfreed {
namespace {

std::string read_small_file(const std::string& path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 4096> bytes;
    const ssize_t count = file ? read(file.get(), bytes.data(), bytes.size()) : 0;
    return std::string(bytes.data(), static_cast<std::size_t>(count > 0 ? count : 0));
}

// From linux/pidfd.h of Linux 6.15, which is newer than the headers we build with: the ioctl tells the exit
// status of a process that has been reaped already. An older kernel refuses it or leaves the bit out.
struct PidfdInfo {
    std::uint64_t mask;
    std::uint64_t cgroup;
    std::uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "PIDFD_INFO_SIZE_VER0");
constexpr std::uint64_t kPidfdInfoExit = 1u << 3;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);

}  // namespace

std::string process_name(pid_t pid) {
    std::string name = read_small_file(fmt::format("/proc/{}/comm", pid));
    if (!name.empty() && name.back() == '\n') name.pop_back();
    return name;
}

std::string process_executable(pid_t pid) {
    std::array<char, PATH_MAX> path;
    const ssize_t count = readlink(fmt::format("/proc/{}/exe", pid).c_str(), path.data(), path.size());
    return std::string(path.data(), static_cast<std::size_t>(count > 0 ? count : 0));
}

FileId process_executable_id(pid_t pid) {
    struct stat status {};
    if (stat(fmt::format("/proc/{}/exe", pid).c_str(), &status) != 0) return {};
    return {status.st_dev, status.st_ino};
}

std::optional<int> ended_status(pid_t pid, int pidfd) {
    PidfdInfo info{};
    info.mask = kPidfdInfoExit;
    if (ioctl(pidfd, kPidfdGetInfo, &info) == 0 && (info.mask & kPidfdInfoExit) != 0) return info.exit_code;
    // Not reaped yet: the last field of /proc/PID/stat. The name in it may hold anything, so count from its
    // end.
    const std::string stat = read_small_file(fmt::format("/proc/{}/stat", pid));
    const std::size_t name_end = stat.rfind(')');
    if (name_end == std::string::npos || stat.compare(name_end, 3, ") Z") != 0) return std::nullopt;
    const std::size_t last = stat.rfind(' ');
    return std::atoi(stat.c_str() + last + 1);
}

std::string describe_end(int wait_status) {
    if (!WIFSIGNALED(wait_status)) return fmt::format("exited with {}", WEXITSTATUS(wait_status));
    const int signal = WTERMSIG(wait_status);
    const char* name = sigabbrev_np(signal);
    return fmt::format("killed by {}{}",
                       name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal),
                       WCOREDUMP(wait_status) ? " (core dumped)" : "");
}

int exit_code_of(int wait_status) {
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace unfreed
