// Many probes of one file in one link (BPF_LINK_CREATE, uprobe_multi), which Debian 12's libbpf knows nothing
// of.
#pragma once
#include <bpf/libbpf.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

namespace unfreed::ebpf {

// A place to probe in one file, and what the probe is told.
struct Probe {
    std::uint64_t offset = 0;  // in the file
    std::uint64_t cookie = 0;
};

// Newer than the headers that we build with (linux/bpf.h of 6.6 and 6.13). A session is entry and return in
// one.
constexpr auto kUprobeMulti = static_cast<bpf_attach_type>(48);
constexpr auto kUprobeSession = static_cast<bpf_attach_type>(57);

// The link's descriptor, the caller's to close; -1 with errno when the kernel refuses. `on_return`: not a
// session's.
int create_multi_link(int program, bpf_attach_type type, pid_t pid, const std::string& path,
                      std::span<const Probe> probes, bool on_return = false);

// Does the kernel know such links (6.6)?
bool has_multi_links(int program);

}  // namespace unfreed::ebpf
