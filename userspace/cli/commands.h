// The verbs of the command. Each declares its options on `app`; when the command line names it, `chosen`
// becomes what main is to run then, and its result is the exit code. A wrong command line that only the verb
// can see (a regular expression, a size) is an Error with kExitUsage.
#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace unfreed {

using Verb = std::function<int()>;

void add_report_command(CLI::App& app, Verb& chosen);
void add_diff_command(CLI::App& app, Verb& chosen);
void add_check_command(CLI::App& app, Verb& chosen);

}  // namespace unfreed
