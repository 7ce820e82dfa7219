// Starts the command: as the caller would have started it, but for the variables and limits that a backend
// needs.
#pragma once
#include <sys/resource.h>
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "userspace/process/caller_signals.h"
#include "userspace/process/descriptor.h"

namespace unfreed {

struct LaunchPlan {
    std::string path;                    // what to exec
    std::vector<std::string> arguments;  // [0] included
    // Variables that replace inherited ones (nullopt: taken out); asked for in the new process.
    std::function<std::vector<std::pair<std::string, std::optional<std::string>>>(pid_t)> variables;
    std::vector<std::pair<int, rlimit>> limits;  // what setrlimit is given, in the new process
};

// The new process exists and waits before its exec, so that it can be prepared (probes, an output file named
// for its id). Destroyed before open_gate(), it ends without having run anything.
class Launch {
  public:
    Launch(const LaunchPlan& plan, const CallerSignals& signals);

    pid_t pid() const { return pid_; }

    // Lets it exec. Throws Error (126 or 127) when that fails; nothing of the command has run then.
    void open_gate();

  private:
    pid_t pid_ = -1;
    Descriptor gate_;    // write end: a byte lets the child go on, closing it ends the child
    Descriptor result_;  // read end: the errno of a failed exec, or its end
};

}  // namespace unfreed
