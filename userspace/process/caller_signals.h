// Signals of the unfreed command: what it does with each, and what the command it runs must inherit instead.
//
// The command runs in our process group, so that the terminal treats both as one job: Ctrl-C and Ctrl-\ reach
// the command as they would alone, and we only note them; Ctrl-Z, and a background job's read of the
// terminal, stop us both by default; the shell's fg and bg continue us both. What another process sends to us
// alone (kill, a supervisor's SIGTERM) is meant for the command, and is handed on.
#pragma once
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include <optional>

#include "userspace/process/descriptor.h"

namespace unfreed {

class CallerSignals {
  public:
    // From here on the signals we handle are read from descriptor(); at most one at a time exists.
    CallerSignals();
    // As it was before; what came in the meantime and was not read is dropped.
    ~CallerSignals();
    CallerSignals(const CallerSignals&) = delete;
    CallerSignals& operator=(const CallerSignals&) = delete;

    // Readable when next() has one.
    int descriptor() const { return signals_.get(); }
    std::optional<signalfd_siginfo> next() const;

    // Is this one meant for the command `pid`, rather than sent to the whole job already?
    static bool is_for_command(const signalfd_siginfo& signal, pid_t pid);

    // In a new process, before its exec: mask and dispositions as the caller gave them to us.
    // Async-signal-safe.
    void restore() const;

  private:
    sigset_t caller_mask_;
    struct sigaction caller_pipe_;
    struct sigaction caller_file_size_;
    struct sigaction caller_child_;
    Descriptor signals_;
};

}  // namespace unfreed
