#include "userspace/cli/choose_backend.h"

#include <fmt/format.h>

#include "userspace/capture/preload/preload_backend.h"
#include "userspace/capture/preload/shim.h"
#include "userspace/cli/say.h"
#include "userspace/error.h"
#ifdef UNFREED_HAS_EBPF
#include "userspace/capture/ebpf/ebpf_backend.h"
#endif

namespace unfreed {
namespace {

std::unique_ptr<Backend> make_preload(const CaptureOptions& options) {
    if (!plan_address_space().possible)
        say("unfreed: the program runs untraced: the limit of the address space has no room for unfreed's "
            "table; raise it (ulimit -v unlimited)\n");
    return std::make_unique<PreloadBackend>(options.settings, find_shim());
}

// Why the ebpf backend cannot be had here; empty: it can.
std::string ebpf_missing() {
#ifdef UNFREED_HAS_EBPF
    return ebpf_obstacle();
#else
    return "this build has no ebpf backend";
#endif
}

std::unique_ptr<Backend> make_ebpf(const CaptureOptions& options) {
#ifdef UNFREED_HAS_EBPF
    return make_ebpf_run_backend(options.settings);
#else
    static_cast<void>(options);
    return nullptr;
#endif
}

}  // namespace

std::unique_ptr<Backend> choose_backend(const CaptureOptions& options, const Program& program) {
    if (!program.obstacle.empty())
        throw Error(program.path, program.obstacle, "unfreed traces 64-bit x86 programs only");
    std::string obstacle = program.preload_obstacle;
    if (obstacle.empty() && !options.settings.pairs.empty()) obstacle = "--pair needs the ebpf backend";
    if (options.backend == "preload" && !program.preload_obstacle.empty())
        throw Error(program.path,
                    program.preload_obstacle + ", so a preloaded library cannot see its allocations",
                    "use --backend ebpf");
    if (options.backend == "preload" || (options.backend == "auto" && obstacle.empty()))
        return make_preload(options);

    const std::string missing = ebpf_missing();
    if (!missing.empty() && options.backend == "ebpf")
        throw Error("--backend ebpf", missing, "use --backend preload where it can work");
    if (!missing.empty())
        throw Error(program.path, fmt::format("{}, and {}", obstacle, missing),
                    "it cannot be traced here; run it without unfreed");
    if (options.backend == "auto")
        say("unfreed: {}: {}; its allocations are recorded by the ebpf backend\n", program.path, obstacle);
    return make_ebpf(options);
}

}  // namespace unfreed
