// Backend: the seam between the two ways to capture (preload, ebpf) and everything after them. The command
// makes one, lets the program run, feeds it events from one poll loop in one thread (cli/recording.h), and
// takes Snapshots from it. Nothing outside `capture` knows more of a backend than this.
//
// Order of calls, all in the main thread:
//   run:     command_created(pid) [the child exists, waits before its exec] -> environment(pid) -> exec ->
//            { dispatch() | tick() | process_ended() | snapshot() }* -> stop_recording() -> snapshot()
//   attach:  the ebpf backend is made with the process id and has attached when its constructor returns; then
//            { dispatch() | tick() | snapshot() }* until finished() -> stop_recording() -> snapshot()
// Errors: any call may throw unfreed::Error; after the command has been started only snapshot() does.
#pragma once
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "userspace/snapshot/snapshot.h"

namespace unfreed {

// What to record: the same for both backends.
struct CaptureSettings {
    std::uint64_t sample_bytes = 0;  // mean bytes between samples; 0: every allocation
    std::uint32_t depth = 128;       // frames kept per stack, leaf side first
    bool follow = true;              // children too, over fork and exec
    bool go_created_by = false;      // a goroutine's stack ends with where it was created
    std::vector<std::pair<std::string, std::string>> pairs;  // one more allocator each: symbols ALLOC, FREE
};

class Backend {
  public:
    virtual ~Backend() = default;

    // Variables of the command's environment that replace those of the same name in ours; nullopt: taken out.
    // Called in the new process before its exec, with its id.
    using Variables = std::vector<std::pair<std::string, std::optional<std::string>>>;
    virtual Variables environment(pid_t command) const {
        static_cast<void>(command);
        return {};
    }

    // Resource limits that the command needs (for setrlimit).
    using Limits = std::vector<std::pair<int, rlimit>>;
    virtual Limits limits() const { return {}; }

    // The command's process exists and will exec `executable` when this returns: the moment for probes on it.
    virtual void command_created(pid_t pid, const std::string& executable) {
        static_cast<void>(pid);
        static_cast<void>(executable);
    }

    // A descriptor (an epoll instance, as a rule) that is readable when dispatch() has something to do.
    virtual int event_descriptor() const = 0;
    virtual void dispatch() = 0;

    // Called at the latest every tick_interval_ms(), also when nothing happened: clocks, module files,
    // drains.
    virtual int tick_interval_ms() const { return 1000; }
    virtual void tick() {}

    // Called after it, as long as no copy of this process is reading what is shared with it (a numbered
    // snapshot): the moment to take what is over out of tables that fill up.
    virtual void clear_tables() {}

    // A child of ours was waited for: how it ended, as waitpid's status.
    virtual void process_ended(pid_t pid, int wait_status) {
        static_cast<void>(pid);
        static_cast<void>(wait_status);
    }

    // No traced process is left.
    virtual bool finished() const = 0;

    // Processes that are traced and have not ended, as far as is known.
    virtual std::vector<pid_t> living() const { return {}; }

    // The live blocks of one of them, mappings aside, as they are now. `weight`: how many such blocks it
    // stands for (sampling). `domain`: index into Snapshot::domains.
    struct LiveBlock {
        std::uint64_t address = 0;
        std::uint64_t bytes = 0;
        double weight = 1;
        std::uint32_t domain = 0;
    };
    using VisitBlock = std::function<void(const LiveBlock&)>;
    virtual void for_each_block(pid_t pid, const VisitBlock& visit) const {
        static_cast<void>(pid);
        static_cast<void>(visit);
    }

    // The programs run on, untraced. Blocks freed later still count as outstanding in later snapshots.
    virtual void stop_recording() = 0;

    // The picture now. Fills everything but command, started_unix_ns and duration_ns, which are the caller's.
    // `last`: no more will be asked for, so the backend may give its memory away.
    virtual Snapshot snapshot(bool last) = 0;
};

}  // namespace unfreed
