#include "userspace/process/process_facts.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "userspace/process/descriptor.h"

using namespace unfreed;

namespace {

struct Ended {
    pid_t pid;
    Descriptor pidfd;
};

// A process that has ended with `status` and is not reaped.
Ended end_with(int status) {
    const pid_t pid = fork();
    if (pid == 0) _exit(status);
    Ended ended{pid, Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)))};
    pollfd one{ended.pidfd.get(), POLLIN, 0};
    poll(&one, 1, -1);
    return ended;
}

}  // namespace

TEST_CASE("ends are named as people name them") {
    CHECK(describe_end(0) == "exited with 0");
    CHECK(describe_end(7 << 8) == "exited with 7");
    CHECK(describe_end(SIGKILL) == "killed by SIGKILL");
    CHECK(describe_end(SIGSEGV | 0x80) == "killed by SIGSEGV (core dumped)");
    CHECK(describe_end(40) == "killed by signal 40");
}

TEST_CASE("exit codes are a shell's") {
    CHECK(exit_code_of(7 << 8) == 7);
    CHECK(exit_code_of(SIGKILL) == 137);
}

TEST_CASE("a process has its name and executable") {
    CHECK(process_name(getpid()).starts_with("unit_userspace"));
    CHECK(process_executable(getpid()).ends_with("unit_userspace_process"));
    CHECK(process_name(-1).empty());
    CHECK(process_executable(-1).empty());
}

TEST_CASE("how a process ended is known before anyone waits for it") {
    const Ended ended = end_with(9);
    CHECK(ended_status(ended.pid, ended.pidfd.get()) == 9 << 8);
    waitpid(ended.pid, nullptr, 0);
}

TEST_CASE("a process that lives has not ended") {
    const Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
    CHECK(!ended_status(getpid(), pidfd.get()));
}
