#include "userspace/process/launch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "userspace/error.h"

namespace unfreed {
namespace {

struct Pipe {
    Descriptor read_end, write_end;
    Pipe() {
        std::array<int, 2> ends;
        if (pipe2(ends.data(), O_CLOEXEC) != 0)
            throw Error("cannot start the command", std::strerror(errno), "raise the limit of open files");
        read_end = Descriptor(ends[0]);
        write_end = Descriptor(ends[1]);
    }
};

// The process is a copy of ours with one thread, as ours has: it may allocate before its exec.
[[noreturn]] void run_child(const LaunchPlan& plan, const CallerSignals& signals, Pipe& gate, Pipe& result) {
    gate.write_end.close();
    result.read_end.close();
    char go = 0;
    if (read(gate.read_end.get(), &go, 1) != 1) _exit(kExitUnfreedFailed);

    for (const auto& [name, value] :
         plan.variables ? plan.variables(getpid()) : decltype(plan.variables(0)){}) {
        if (value)
            setenv(name.c_str(), value->c_str(), 1);
        else
            unsetenv(name.c_str());
    }
    std::vector<char*> arguments;
    for (const std::string& argument : plan.arguments)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    for (const auto& [resource, limit] : plan.limits)
        setrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
    signals.restore();
    execv(plan.path.c_str(), arguments.data());
    const int why = errno;
    if (write(result.write_end.get(), &why, sizeof why) != sizeof why) _exit(kExitUnfreedFailed);
    _exit(why == ENOENT ? kExitNotFound : kExitCannotRun);
}

}  // namespace

Launch::Launch(const LaunchPlan& plan, const CallerSignals& signals) {
    Pipe gate;
    Pipe result;
    pid_ = fork();
    if (pid_ < 0) throw Error("cannot start the command", std::strerror(errno), "end other processes");
    if (pid_ == 0) run_child(plan, signals, gate, result);
    gate_ = std::move(gate.write_end);
    result_ = std::move(result.read_end);
}

void Launch::open_gate() {
    const char go = 1;
    if (write(gate_.get(), &go, 1) != 1)
        throw Error("cannot start the command", "its process was killed before it ran", "try again");
    gate_.close();
    int why = 0;
    ssize_t got = 0;
    do got = read(result_.get(), &why, sizeof why);
    while (got < 0 && errno == EINTR);
    if (got != sizeof why) return;  // the exec closed the pipe
    waitpid(pid_, nullptr, 0);
    throw Error("cannot run the command", std::strerror(why), "check the file and its interpreter",
                why == ENOENT ? kExitNotFound : kExitCannotRun);
}

}  // namespace unfreed
