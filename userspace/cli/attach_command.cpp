// unfreed attach PID: joins a running process. What happens, in order, is attach().
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "userspace/capture/ebpf/ebpf_backend.h"
#include "userspace/cli/capture_options.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/recording.h"
#include "userspace/cli/say.h"
#include "userspace/error.h"
#include "userspace/process/caller_signals.h"
#include "userspace/process/process_facts.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

int attach(const CaptureOptions& options, pid_t pid) {
    if (options.backend == "preload") {
        throw Error("attach", "a library cannot be preloaded into a running process",
                    "use --backend ebpf, or start it with `unfreed run`", kExitUsage);
    }
    // 1. Signals are ours from here on: Ctrl-C ends the recording, not unfreed.
    CallerSignals signals;
    const std::string name = process_name(pid);
    const std::string output = options.output.empty() ? default_output(name, pid) : options.output;

    // 2. Every probe is live when the backend is made.
    const std::unique_ptr<Backend> backend = make_ebpf_attach_backend(options.settings, pid);
    check_writable(output);
    say("attached to {}\n", pid);

    // 3. Until Ctrl-C, --duration or its end; then the report.
    Recording recording(options, *backend, signals, fmt::format("attach {} ({})", pid, name), output, -1);
    recording.run();
    recording.report();
    return kExitDone;
}

}  // namespace

void add_attach_command(CLI::App& app, Verb& chosen) {
    CLI::App* verb =
        app.add_subcommand("attach", "join a running process until Ctrl-C, --duration or its end");
    const auto options = std::make_shared<CaptureOptions>();
    const auto pid = std::make_shared<pid_t>(0);
    add_capture_options(*verb, *options);
    verb->add_option("PID", *pid, "the process")->required();
    verb->callback([options, pid, &chosen] { chosen = [options, pid] { return attach(*options, *pid); }; });
}

}  // namespace unfreed
