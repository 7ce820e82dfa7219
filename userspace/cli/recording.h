// The time from the first event to the report: one loop, one thread, the same for `run` and `attach`.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "userspace/capture/backend.h"
#include "userspace/cli/capture_options.h"
#include "userspace/cli/memory_look.h"
#include "userspace/process/caller_signals.h"

namespace unfreed {

class Recording {
  public:
    // `command`: as typed, for the profile. `output`: the profile's path, known to be writable. `child`: the
    // command that we started, whose end ends the recording; -1: none, then SIGINT and SIGTERM end it.
    Recording(const CaptureOptions& options, Backend& backend, CallerSignals& signals, std::string command,
              std::string output, pid_t child);

    // Records until the child ends, or all traced processes, or --duration is over; writes the snapshots of
    // --interval and SIGUSR1 on the way, in processes of their own, so that no traced one waits for us.
    void run();

    // The last snapshot: the profile written, the summary printed. An Error is thrown after all that could be
    // done is done.
    void report();

    // After --duration: waits for the child, handing its signals on. Its waitpid status.
    int wait_for_child();

  private:
    void poll_once(std::int64_t until_ns);
    void handle_signals();
    void hand_on(int signal);
    void reap();
    void write_numbered();
    void wait_for_writers();
    Snapshot take(bool last);

    const CaptureOptions& options_;
    Backend& backend_;
    CallerSignals& signals_;
    const std::string command_;
    const std::string output_;
    const pid_t child_;
    const std::int64_t started_unix_ns_;
    const std::int64_t started_ns_;
    std::optional<int> child_status_;
    bool asked_to_end_ = false;
    std::optional<MemoryLook> look_before_signal_;  // of a command that is about to end
    unsigned numbered_ = 0;
    std::vector<pid_t> writers_;
};

}  // namespace unfreed
