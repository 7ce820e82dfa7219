// unfreed rss PID...: where the resident memory of living processes is.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <limits>
#include <memory>
#include <vector>

#include "userspace/cli/commands.h"
#include "userspace/error.h"
#include "userspace/report/memory_text.h"
#include "userspace/rss/measure.h"
#include "userspace/rss/table.h"

namespace unfreed {
namespace {

struct RssOptions {
    std::vector<pid_t> processes;
    bool tree = false;
};

// With their children, and theirs, each process once.
std::vector<pid_t> with_children(std::vector<pid_t> processes) {
    for (std::size_t i = 0; i < processes.size(); ++i)
        for (const pid_t child : rss::LiveProcess(processes[i]).children())
            if (std::find(processes.begin(), processes.end(), child) == processes.end())
                processes.push_back(child);
    return processes;
}

int rss_of(const RssOptions& options) {
    std::vector<pid_t> processes;
    for (const pid_t pid : options.tree ? with_children(options.processes) : options.processes)
        if (std::find(processes.begin(), processes.end(), pid) == processes.end()) processes.push_back(pid);
    std::vector<rss::Measured> measured;
    for (const pid_t pid : processes) {
        try {
            measured.push_back(rss::measure(pid));
        } catch (const Error&) {  // a child may end at any moment, or have ended and wait for its parent
            const bool asked =
                std::find(options.processes.begin(), options.processes.end(), pid) != options.processes.end();
            if (asked) throw;
        }
    }
    write_memory(rss::table(measured), std::cout);
    std::cout.flush();
    return kExitDone;
}

}  // namespace

void add_rss_command(CLI::App& app, Verb& chosen) {
    CLI::App* const verb = app.add_subcommand("rss", "where the resident memory of a process is");
    auto options = std::make_shared<RssOptions>();
    verb->add_option("pid", options->processes, "processes; of several, pages that they share count once")
        ->required()
        ->check(CLI::Range(1, std::numeric_limits<pid_t>::max()).description(""));
    verb->add_flag("--tree", options->tree, "their children too");
    verb->callback([options, &chosen] { chosen = [options] { return rss_of(*options); }; });
}

}  // namespace unfreed
