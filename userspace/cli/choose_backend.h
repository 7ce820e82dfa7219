// Which backend records a launch.
#pragma once
#include <memory>

#include "userspace/capture/backend.h"
#include "userspace/cli/capture_options.h"
#include "userspace/process/inspect_program.h"

namespace unfreed {

// As --backend says; for auto the preloaded shim where it can see the program's allocations, else ebpf, and a
// line on standard error that says so. Error (125) when none can.
std::unique_ptr<Backend> choose_backend(const CaptureOptions& options, const Program& program);

}  // namespace unfreed
