#include "userspace/capture/ebpf/attach_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "userspace/capture/ebpf/kernel_side.h"
#include "userspace/error.h"
#include "userspace/process/descriptor.h"

namespace unfreed::ebpf {

void check_attach_target(pid_t pid) {
    const std::string what = fmt::format("process {}", pid);
    if (pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH)) {
        throw Error(what, "there is none", "check its id (ps -e)");
    }
    std::ifstream status(fmt::format("/proc/{}/status", pid));
    bool zombie = false, has_memory = false;
    pid_t group = pid;
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("State:") && line.find('Z') != std::string::npos) zombie = true;
        if (line.starts_with("VmSize:")) has_memory = true;
        if (line.starts_with("Tgid:")) std::istringstream(line.substr(5)) >> group;
    }
    if (zombie) throw Error(what, "it has ended and only waits for its parent", "nothing is left to trace");
    if (group != pid) {
        throw Error(what, fmt::format("it is a thread of process {}", group),
                    fmt::format("attach to {}", group));
    }
    if (!has_memory) throw Error(what, "it is a thread of the kernel", "unfreed traces programs");
    if (const std::string obstacle = kernel_obstacle(); !obstacle.empty()) {
        throw Error("the ebpf backend", obstacle, advice_on(obstacle));
    }
    const Descriptor executable(open(fmt::format("/proc/{}/exe", pid).c_str(), O_RDONLY | O_CLOEXEC));
    if (!executable) {
        throw Error(what, fmt::format("it is not ours to look into ({})", std::strerror(errno)),
                    "run as root, or with CAP_SYS_PTRACE beside CAP_BPF and CAP_PERFMON");
    }
    std::array<unsigned char, 5> head{};
    if (read(executable.get(), head.data(), head.size()) == 5 &&
        std::memcmp(head.data(),
                    "\x7f"
                    "ELF",
                    4) == 0 &&
        head[4] == 1) {
        throw Error(what, "it is a 32-bit program", "unfreed traces 64-bit x86 programs only");
    }
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    if (std::string line; !std::getline(maps, line)) {
        throw Error(what, "its memory maps are not ours to read",
                    "run as root, or with CAP_SYS_PTRACE beside CAP_BPF and CAP_PERFMON");
    }
}

}  // namespace unfreed::ebpf
