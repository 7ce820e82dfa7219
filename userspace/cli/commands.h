// The verbs of the command. Each declares its options on `app`; when the command line names it, `chosen`
// becomes what main is to run then, and its result is the exit code. A wrong command line that only the verb
// can see (a regular expression, a size) is an Error with kExitUsage.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace unfreed {

using Verb = std::function<int()>;

// `command`: the words after --; read when the verb runs.
void add_run_command(CLI::App& app, const std::vector<std::string>& command, Verb& chosen);
void add_attach_command(CLI::App& app, Verb& chosen);  // where the ebpf backend is built
void add_report_command(CLI::App& app, Verb& chosen);
void add_diff_command(CLI::App& app, Verb& chosen);
void add_check_command(CLI::App& app, Verb& chosen);
void add_rss_command(CLI::App& app, Verb& chosen);

}  // namespace unfreed
