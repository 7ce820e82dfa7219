#include "userspace/cli/recording.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <set>
#include <sstream>

#include "userspace/cli/progress.h"
#include "userspace/cli/say.h"
#include "userspace/error.h"
#include "userspace/process/pure_go.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kSummaryPaths = 10;

std::int64_t clock_ns(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

std::int64_t after(std::int64_t start_ns, std::optional<double> seconds) {
    return seconds ? start_ns + static_cast<std::int64_t>(*seconds * 1e9) : kNever;
}

}  // namespace

Recording::Recording(const CaptureOptions& options, Backend& backend, CallerSignals& signals,
                     std::string command, std::string output, pid_t child)
    : options_(options),
      backend_(backend),
      signals_(signals),
      command_(std::move(command)),
      output_(std::move(output)),
      child_(child),
      started_unix_ns_(clock_ns(CLOCK_REALTIME)),
      started_ns_(clock_ns(CLOCK_MONOTONIC)) {}

void Recording::run() {
    const std::int64_t end = after(started_ns_, options_.duration_seconds);
    std::int64_t next_numbered = after(started_ns_, options_.interval_seconds);
    while (!child_status_ && !asked_to_end_ && (child_ >= 0 || !backend_.finished())) {
        const std::int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= end) break;
        if (now >= next_numbered) {
            write_numbered();
            next_numbered = after(now, options_.interval_seconds);
        }
        poll_once(std::min(end, next_numbered));
    }
    backend_.dispatch();  // what ended together with the child
    if (!child_status_) backend_.stop_recording();
}

void Recording::poll_once(std::int64_t until_ns) {
    std::array<pollfd, 2> events{
        {{signals_.descriptor(), POLLIN, 0}, {backend_.event_descriptor(), POLLIN, 0}}};
    const std::int64_t left_ns = std::max<std::int64_t>(until_ns - clock_ns(CLOCK_MONOTONIC), 0);
    const auto wait_ms =
        static_cast<int>(std::min<std::int64_t>(left_ns / 1'000'000 + 1, backend_.tick_interval_ms()));
    poll(events.data(), events.size(), wait_ms);
    if ((events[1].revents & POLLIN) != 0) backend_.dispatch();
    if ((events[0].revents & POLLIN) != 0) handle_signals();
    backend_.tick();
    if (writers_.empty()) backend_.clear_tables();
}

void Recording::handle_signals() {
    while (const auto signal = signals_.next()) {
        if (signal->ssi_signo == SIGCHLD)
            reap();
        else if (signal->ssi_signo == SIGUSR1)
            write_numbered();
        else if (child_ < 0)
            asked_to_end_ = true;
        else if (!child_status_ && CallerSignals::is_for_command(*signal, child_))
            hand_on(static_cast<int>(signal->ssi_signo));
    }
}

// A signal that ends most programs is the last moment at which one can be looked at.
void Recording::hand_on(int signal) {
    if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT)
        look_before_signal_.emplace(backend_);
    kill(child_, signal);
}

void Recording::reap() {
    int status = 0;
    std::erase_if(writers_, [&](pid_t writer) { return waitpid(writer, &status, WNOHANG) == writer; });
    if (child_ < 0 || child_status_ || waitpid(child_, &status, WNOHANG) != child_) return;
    child_status_ = status;
    backend_.process_ended(child_, status);
}

Snapshot Recording::take(bool last) {
    MemoryLook look(backend_);
    Snapshot snapshot = backend_.snapshot(last);
    if (look.empty() && look_before_signal_)
        look_before_signal_->finish(snapshot, "when its signal came");
    else
        look.finish(snapshot, "");
    std::set<std::string> executables;
    for (const Process& process : snapshot.processes)
        if (executables.insert(process.executable).second && is_pure_go(process.executable))
            snapshot.notes.push_back(pure_go_note(process.name));
    snapshot.command = command_;
    snapshot.started_unix_ns = started_unix_ns_;
    snapshot.duration_ns = clock_ns(CLOCK_MONOTONIC) - started_ns_;
    return snapshot;
}

void Recording::write_numbered() {
    const std::string path = fmt::format("{}.{:04}", output_, ++numbered_);
    const pid_t writer = fork();
    if (writer > 0) writers_.push_back(writer);
    if (writer != 0) return;
    // A copy of everything, this moment included: what it reads from the tables from here on is only later.
    int code = kExitDone;
    try {
        write_pprof(build_profile(take(false), {}), path);
        if (!options_.quiet) say("unfreed: snapshot written to {}\n", path);
    } catch (const std::exception& error) {  // none may go on: the rest of us is the parent's
        say("unfreed: {}\n", error.what());
        code = kExitUnfreedFailed;
    }
    _exit(code);
}

void Recording::wait_for_writers() {
    for (const pid_t writer : writers_) waitpid(writer, nullptr, 0);
    writers_.clear();
}

void Recording::report() {
    ProgressLine line;
    Snapshot snapshot = take(true);
    std::string why_nothing;
    if (snapshot.processes.empty() && !snapshot.losses.empty())
        why_nothing = snapshot.losses.front().cause;
    else if (snapshot.processes.empty() && !snapshot.notes.empty())
        why_nothing = snapshot.notes.front();
    const Profile profile = build_profile(
        std::move(snapshot),
        [&](const std::string& what, std::size_t done, std::size_t all) { line.show(what, done, all); });
    std::optional<Error> unwritten;
    try {
        write_pprof(profile, output_);
    } catch (const Error& error) {
        unwritten = error;
    }
    if (!options_.quiet) {
        std::ostringstream summary;
        print_summary(profile, summary, terminal_of(STDERR_FILENO), kSummaryPaths);
        say("{}", summary.str());
        if (!unwritten) say("profile: {}\nnext:    unfreed report {}\n", output_, output_);
    } else if (!why_nothing.empty()) {
        say("unfreed: {}\n", why_nothing);
    }
    wait_for_writers();
    if (unwritten) throw *unwritten;
}

int Recording::wait_for_child() {
    while (!child_status_) poll_once(kNever);
    return *child_status_;
}

}  // namespace unfreed
