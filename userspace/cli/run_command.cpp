// unfreed run -- COMMAND: wraps a launch. What happens, in order, is run().
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "userspace/capture/backend.h"
#include "userspace/cli/capture_options.h"
#include "userspace/cli/choose_backend.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/recording.h"
#include "userspace/error.h"
#include "userspace/process/caller_signals.h"
#include "userspace/process/inspect_program.h"
#include "userspace/process/launch.h"
#include "userspace/process/process_facts.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

std::string as_typed(const std::vector<std::string>& command) {
    std::string text;
    for (const std::string& word : command) text += (text.empty() ? "" : " ") + word;
    return text;
}

LaunchPlan plan_launch(const Program& program, const std::vector<std::string>& command,
                       const Backend& backend) {
    LaunchPlan plan;
    plan.path = program.path;
    plan.arguments = command;
    if (program.shell_script) {
        plan.path = "/bin/sh";
        plan.arguments.insert(plan.arguments.begin(), "sh");
        plan.arguments[1] = program.path;
    }
    plan.variables = [&backend](pid_t pid) { return backend.environment(pid); };
    plan.limits = backend.limits();
    return plan;
}

int run(const CaptureOptions& options, const std::vector<std::string>& command) {
    if (command.empty())
        throw Error("run", "no command given", "unfreed run [options] -- COMMAND [ARG...]", kExitUsage);

    // 1. What is it, and who can record it? Nothing has run yet.
    const Program program = inspect_program(command.front(), std::getenv("PATH"));
    const std::unique_ptr<Backend> backend = choose_backend(options, program);

    // 2. Its process, waiting. From here on signals are ours to hand on.
    CallerSignals signals;
    Launch launch(plan_launch(program, command, *backend), signals);
    const std::string output =
        options.output.empty() ? default_output(command.front(), launch.pid()) : options.output;
    check_writable(output);

    // 3. It runs, we record; its end is ours, unless --duration comes first.
    backend->command_created(launch.pid(), program.path);
    Recording recording(options, *backend, signals, as_typed(command), output, launch.pid());
    launch.open_gate();
    recording.run();

    // 4. The report; whatever becomes of it, a command that still runs is waited for.
    std::optional<Error> failed;
    try {
        recording.report();
    } catch (const Error& error) {
        failed = error;
    }
    const int status = recording.wait_for_child();
    if (failed) throw *failed;
    return exit_code_of(status);
}

}  // namespace

void add_run_command(CLI::App& app, const std::vector<std::string>& command, Verb& chosen) {
    CLI::App* verb = app.add_subcommand("run", "run a command and record what it does not free");
    verb->footer("COMMAND [ARG...] comes after --, and is run as it would run alone.");
    const auto options = std::make_shared<CaptureOptions>();
    add_capture_options(*verb, *options);
    verb->callback(
        [options, &command, &chosen] { chosen = [options, &command] { return run(*options, command); }; });
}

}  // namespace unfreed
