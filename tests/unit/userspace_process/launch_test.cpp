#include "userspace/process/launch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <csignal>

#include "userspace/error.h"
#include "userspace/process/process_facts.h"

using namespace unfreed;

namespace {

LaunchPlan shell(const std::string& script) {
    LaunchPlan plan;
    plan.path = "/bin/sh";
    plan.arguments = {"sh", "-c", script};
    return plan;
}

int status_of(LaunchPlan plan) {
    const CallerSignals signals;
    Launch launch(std::move(plan), signals);
    launch.open_gate();
    int status = -1;
    waitpid(launch.pid(), &status, 0);
    return status;
}

}  // namespace

TEST_CASE("the command's exit status is passed on") {
    CHECK(exit_code_of(status_of(shell("exit 7"))) == 7);
    CHECK(exit_code_of(status_of(shell("kill -TERM $$"))) == 128 + SIGTERM);
}

TEST_CASE("variables are set and taken out") {
    setenv("UNFREED_TEST_OLD", "old", 1);
    LaunchPlan plan = shell("[ \"$UNFREED_TEST_NEW\" = \"$$\" ] && [ -z \"${UNFREED_TEST_OLD+set}\" ]");
    plan.variables = [](pid_t pid) {
        return std::vector<std::pair<std::string, std::optional<std::string>>>{
            {"UNFREED_TEST_NEW", std::to_string(pid)}, {"UNFREED_TEST_OLD", std::nullopt}};
    };
    CHECK(status_of(plan) == 0);
    CHECK(std::string(getenv("UNFREED_TEST_OLD")) == "old");
    unsetenv("UNFREED_TEST_OLD");
}

TEST_CASE("limits hold in the command alone") {
    LaunchPlan plan = shell("[ $(ulimit -n) = 77 ]");
    plan.limits = {{RLIMIT_NOFILE, rlimit{77, 77}}};
    CHECK(status_of(plan) == 0);
    rlimit ours{};
    getrlimit(RLIMIT_NOFILE, &ours);
    CHECK(ours.rlim_cur != 77);
}

TEST_CASE("the command inherits no descriptor of ours") {
    const Descriptor ours(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(status_of(shell("[ ! -e /proc/self/fd/" + std::to_string(ours.get()) + " ]")) == 0);
}

TEST_CASE("signals are to the command what they were to us") {
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGUSR2, &ignore, &before);
    // Blocked: none. Ignored: SIGUSR2 as inherited, and nothing of what unfreed itself ignores (SIGPIPE).
    const int status =
        status_of(shell("while read name mask; do case $name in "
                        "SigBlk:) [ $mask = 0000000000000000 ] || exit 1;; "
                        "SigIgn:) [ $((0x$mask & 0x1800)) = $((0x800)) ] || exit 2;; "
                        "esac; done < /proc/self/status"));
    sigaction(SIGUSR2, &before, nullptr);
    CHECK(status == 0);
}

TEST_CASE("an exec that fails is an error with a shell's exit code, and leaves no process") {
    const CallerSignals signals;
    LaunchPlan plan;
    plan.path = "/no/such/program";
    plan.arguments = {"program"};
    Launch launch(plan, signals);
    try {
        launch.open_gate();
        FAIL("it ran");
    } catch (const Error& error) {
        CHECK(error.exit_code == kExitNotFound);
    }
    CHECK(waitpid(launch.pid(), nullptr, WNOHANG) == -1);
}

TEST_CASE("nothing runs when the gate is never opened") {
    const CallerSignals signals;
    pid_t pid = 0;
    {
        const Launch launch(shell("exit 3"), signals);
        pid = launch.pid();
    }
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(WEXITSTATUS(status) == kExitUnfreedFailed);
}

TEST_CASE("a signal to us alone is for the command, one from it or from the terminal is not") {
    const CallerSignals signals;
    REQUIRE(kill(getpid(), SIGTERM) == 0);
    const auto signal = signals.next();
    REQUIRE(signal);
    CHECK(signal->ssi_signo == SIGTERM);
    CHECK(CallerSignals::is_for_command(*signal, getpid() + 1));
    CHECK(!CallerSignals::is_for_command(*signal, getpid()));
    signalfd_siginfo terminal = *signal;
    terminal.ssi_code = SI_KERNEL;
    CHECK(!CallerSignals::is_for_command(terminal, getpid() + 1));
    signalfd_siginfo child = *signal;
    child.ssi_signo = SIGCHLD;
    CHECK(!CallerSignals::is_for_command(child, getpid() + 1));
}
