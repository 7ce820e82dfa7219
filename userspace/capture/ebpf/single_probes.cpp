// Probes one by one, for kernels without uprobe_multi and sessions (before 6.13): each is a perf event of the
// uprobe PMU, with a BPF link that carries the cookie.
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "userspace/capture/ebpf/kernel_side.h"
#include "userspace/error.h"

namespace unfreed::ebpf {

void KernelSide::attach_one_by_one(pid_t pid, const std::string& path, std::span<const Probe> probes,
                                   int program, bool on_return, std::vector<Descriptor>& links) const {
    std::uint32_t type = 0;
    std::ifstream("/sys/bus/event_source/devices/uprobe/type") >> type;
    for (const Probe& probe : probes) {
        perf_event_attr event{};
        event.size = sizeof event;
        event.type = type;
        event.config = on_return ? 1 : 0;  // format/retprobe: bit 0
        event.uprobe_path = reinterpret_cast<std::uint64_t>(path.c_str());
        event.probe_offset = probe.offset;
        Descriptor opened(
            static_cast<int>(syscall(SYS_perf_event_open, &event, pid, -1, -1, PERF_FLAG_FD_CLOEXEC)));
        bpf_link_create_opts options{};
        options.sz = sizeof options;
        options.perf_event.bpf_cookie = probe.cookie;
        Descriptor link(opened ? bpf_link_create(program, opened.get(), BPF_PERF_EVENT, &options) : -1);
        if (!link) {
            throw Error("probes", fmt::format("the kernel refuses one ({})", std::strerror(errno)),
                        "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
        }
        links.push_back(std::move(link));  // it holds the event too
    }
}

}  // namespace unfreed::ebpf
