#include "userspace/capture/ebpf/uprobe_multi.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace unfreed::ebpf {
namespace {

// What `union bpf_attr` has for it (linux/bpf.h, link_create.uprobe_multi).
struct UprobeMultiLink {
    std::uint32_t program, target, attach_type, flags;
    std::uint64_t path, offsets, ref_counter_offsets, cookies;
    std::uint32_t count, multi_flags, pid, padding;
};

}  // namespace

int create_multi_link(int program, bpf_attach_type type, pid_t pid, const std::string& path,
                      std::span<const Probe> probes, bool on_return) {
    std::vector<std::uint64_t> offsets, cookies;
    for (const Probe& probe : probes) {
        offsets.push_back(probe.offset);
        cookies.push_back(probe.cookie);
    }
    UprobeMultiLink link{};
    link.program = static_cast<std::uint32_t>(program);
    link.attach_type = type;
    link.path = reinterpret_cast<std::uint64_t>(path.c_str());
    link.offsets = reinterpret_cast<std::uint64_t>(offsets.data());
    link.cookies = reinterpret_cast<std::uint64_t>(cookies.data());
    link.count = static_cast<std::uint32_t>(probes.size());
    link.pid = static_cast<std::uint32_t>(pid);
    link.multi_flags = on_return ? 1 : 0;  // BPF_F_UPROBE_MULTI_RETURN
    return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof link));
}

// A folder cannot be probed: one that knows the link says so, one that does not finds it invalid.
bool has_multi_links(int program) {
    const Probe nowhere{};
    return create_multi_link(program, kUprobeMulti, 0, "/", {&nowhere, 1}) == -1 && errno == EBADF;
}

}  // namespace unfreed::ebpf
