#include "userspace/process/caller_signals.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "userspace/error.h"

namespace unfreed {

CallerSignals::CallerSignals() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &ignore, &caller_pipe_);       // a closed standard error is no reason to die
    sigaction(SIGXFSZ, &ignore, &caller_file_size_);  // a full quota is an error to report
    sigaction(SIGCHLD, &standard, &caller_child_);    // ignored, waitpid could not tell the exit status

    sigset_t handled;
    sigemptyset(&handled);
    for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD})
        sigaddset(&handled, signal);
    sigprocmask(SIG_BLOCK, &handled, &caller_mask_);
    signals_ = Descriptor(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) throw Error("signals", std::strerror(errno), "raise the limit of open files");
}

CallerSignals::~CallerSignals() {
    while (next()) {
    }
    restore();
}

std::optional<signalfd_siginfo> CallerSignals::next() const {
    signalfd_siginfo signal;
    if (read(signals_.get(), &signal, sizeof signal) != sizeof signal) return std::nullopt;
    return signal;
}

bool CallerSignals::is_for_command(const signalfd_siginfo& signal, pid_t pid) {
    switch (signal.ssi_signo) {
        case SIGINT:
        case SIGQUIT:
        case SIGTERM:
        case SIGHUP:
        case SIGUSR2:
            // From the kernel: the terminal's, sent to the whole job. From the command: it sent it to its
            // group.
            return signal.ssi_code <= 0 && signal.ssi_pid != static_cast<std::uint32_t>(pid);
        default:
            return false;
    }
}

void CallerSignals::restore() const {
    sigaction(SIGPIPE, &caller_pipe_, nullptr);
    sigaction(SIGXFSZ, &caller_file_size_, nullptr);
    sigaction(SIGCHLD, &caller_child_, nullptr);
    sigprocmask(SIG_SETMASK, &caller_mask_, nullptr);
}

}  // namespace unfreed
