// The ebpf backend: probes in the kernel, for a running process (attach) or one that we start (run --backend
// ebpf). See bpf/README.md for what it costs and which capability buys what.
#pragma once
#include <memory>
#include <string>

#include "userspace/capture/backend.h"

namespace unfreed {

// Why the ebpf backend cannot work here, as a clause ("it needs CAP_BPF ..."); empty: it can, as far as can
// be seen.
std::string ebpf_obstacle();

// For `run`: attaches in command_created(). Error (125) when the kernel refuses.
std::unique_ptr<Backend> make_ebpf_run_backend(const CaptureSettings& settings);

// For `attach`: every probe is live when this returns. Error (125) when `pid` cannot be traced.
std::unique_ptr<Backend> make_ebpf_attach_backend(const CaptureSettings& settings, pid_t pid);

}  // namespace unfreed
