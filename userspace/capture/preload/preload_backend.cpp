#include "userspace/capture/preload/preload_backend.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "userspace/capture/preload/epoch_clock.h"
#include "userspace/capture/preload/table_reader.h"
#include "userspace/error.h"

namespace unfreed {
namespace {

constexpr const char* kAddressSpaceVariable = "UNFREED_ADDRESS_SPACE";
constexpr std::uint64_t kServerTag = 0;  // every other tag is a pointer to a Living
constexpr int kCalmTickMs = 1000;        // the first tier's epoch
constexpr int kYoungTickMs = 50;  // code that is deleted right after it was loaded is caught while young
constexpr std::string_view kReplaced = "replaced by exec of ";
constexpr std::int64_t kYoungMs = 2000;

}  // namespace

PreloadBackend::PreloadBackend(const CaptureSettings& settings, std::string shim)
    : settings_(settings),
      shim_(std::move(shim)),
      address_space_(plan_address_space()),
      started_(std::chrono::steady_clock::now()),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      ended_(empty_preload_snapshot()) {
    if (!settings.pairs.empty())
        throw Error("--pair", "the preload backend records the functions it knows and no other",
                    "use --backend ebpf", kExitUsage);
    if (!epoll_) throw Error("epoll", std::strerror(errno), "raise the limit of open files (ulimit -n)");
    server_ = std::make_unique<SessionServer>(
        epoll_.get(), kServerTag, [this](pid_t pid, const uf_hello& hello) { return welcome(pid, hello); });
    if (!address_space_.possible)
        ended_.losses.push_back(
            {"command not recorded: the limit of the address space (ulimit -v) has no room for unfreed's "
             "table",
             1});
}

Backend::Variables PreloadBackend::environment(pid_t command) const {
    if (!address_space_.possible) return {};
    Variables variables{{"LD_PRELOAD", preload_first(shim_, getenv("LD_PRELOAD"))},
                        {UF_ENV_SOCKET, server_->name()},
                        {UF_ENV_NO_FOLLOW, std::nullopt},
                        {kAddressSpaceVariable, std::nullopt}};
    if (!settings_.follow) variables.emplace_back(UF_ENV_NO_FOLLOW, std::to_string(command));
    if (address_space_.program)
        variables.emplace_back(kAddressSpaceVariable, std::to_string(*address_space_.program));
    return variables;
}

Backend::Limits PreloadBackend::limits() const {
    if (!address_space_.raised) return {};
    return {{RLIMIT_AS, *address_space_.raised}};
}

void PreloadBackend::command_created(pid_t pid, const std::string&) {
    command_ = pid;
    lift_descriptor_limit();  // each living process takes two; ours alone: the command has its own by now
}

SessionServer::Answer PreloadBackend::welcome(pid_t pid, const uf_hello& hello) {
    if (!recording_) return {-1, UF_WELCOME_STOPPED};
    if (!settings_.follow && pid != command_) return {-1, UF_WELCOME_NOT_YOU};
    const std::string name = process_name(pid);
    const auto before =
        std::find_if(living_.begin(), living_.end(), [=](const Living& l) { return l.pid == pid; });
    // The same process says hello again only from a new image.
    if (before != living_.end()) retire(before, fmt::format("{}{}", kReplaced, name));
    Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) return {-1, UF_WELCOME_NOT_YOU};  // killed meanwhile
    try {
        TableFile table =
            TableFile::create(hello.cell_shift, settings_.sample_bytes,
                              epoch_clock::epoch_at(elapsed_seconds()), settings_.go_created_by);
        const auto index = static_cast<ProcessIndex>(ended_.processes.size());
        ended_.processes.push_back({static_cast<std::uint32_t>(pid), name, process_executable(pid),
                                    "still running", hello.forked != 0});
        living_.emplace_back(pid, index, std::move(pidfd), std::move(table), elapsed_ms());
        Living& living = living_.back();
        epoll_event event{EPOLLIN, {.ptr = &living}};
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, living.pidfd.get(), &event);
        return {living.table.descriptor(), UF_WELCOME};
    } catch (const Error& error) {
        count_loss(ended_, fmt::format("processes not recorded: {}", error.what()), 1);
        return {-1, UF_WELCOME_NOT_YOU};
    }
}

void PreloadBackend::retire(Place living, const std::string& end) {
    Process& process = ended_.processes[living->index];
    process.end = end;
    // What is recorded of it is the state at that exec.
    if (!living->untraced_image.empty() && !end.starts_with(kReplaced)) {
        process.end +=
            fmt::format(", as {} after an exec that could not be followed", living->untraced_image);
        ++unfollowed_;
    }
    // The shim's first word in its table is the root of the call paths.
    if (living->table.header().node_count == 0) ++unmapped_;
    append_table(living->table, living->index, elapsed_seconds(), ended_);
    living_.erase(living);  // closes its pidfd, which leaves epoll by that
}

void PreloadBackend::dispatch() {
    std::array<epoll_event, 64> events;
    while (true) {
        const int count = epoll_wait(epoll_.get(), events.data(), events.size(), 0);
        if (count <= 0) return;
        // Ends first: a hello may retire a process image whose end is in this batch too.
        for (int i = 0; i < count; ++i) {
            if (events[i].data.u64 == kServerTag) continue;
            auto* ended = static_cast<Living*>(events[i].data.ptr);
            const auto place =
                std::find_if(living_.begin(), living_.end(), [=](const Living& l) { return &l == ended; });
            if (place == living_.end()) continue;
            const auto status = ended_status(place->pid, place->pidfd.get());
            retire(place, status ? describe_end(*status) : "ended");
        }
        server_->serve();
    }
}

int PreloadBackend::tick_interval_ms() const {
    const bool young = !living_.empty() && elapsed_ms() - living_.back().since_ms < kYoungMs;
    return young ? kYoungTickMs : kCalmTickMs;
}

void PreloadBackend::tick() {
    const std::uint32_t epoch = epoch_clock::epoch_at(elapsed_seconds());
    for (Living& living : living_) {
        living.table.set_epoch(epoch);
        look_at_modules(living);
        look_at_executable(living);
    }
    server_->drop_silent();
}

void PreloadBackend::look_at_modules(Living& living) {
    const std::uint32_t modules = living.table.header().module_count;
    if (modules == living.modules_seen) return;
    living.modules_seen = modules;
    module_files_.look_at(living.pid, living.index);
}

void PreloadBackend::look_at_executable(Living& living) {
    const FileId now = process_executable_id(living.pid);
    const bool replaced = now != FileId{} && living.executable != FileId{} && now != living.executable;
    living.untraced_image = replaced ? process_name(living.pid) : "";
}

void PreloadBackend::process_ended(pid_t pid, int wait_status) {
    if (pid == command_) command_ended_ = true;
    const auto living =
        std::find_if(living_.begin(), living_.end(), [=](const Living& l) { return l.pid == pid; });
    if (living != living_.end()) retire(living, describe_end(wait_status));
}

std::vector<pid_t> PreloadBackend::living() const {
    std::vector<pid_t> pids;
    for (const Living& living : living_) pids.push_back(living.pid);
    return pids;
}

void PreloadBackend::for_each_block(pid_t pid, const VisitBlock& visit) const {
    for (const Living& living : living_)
        if (living.pid == pid) visit_table(living.table, visit);
}

void PreloadBackend::stop_recording() {
    recording_ = false;
    for (Living& living : living_) living.table.stop_recording();
}

Snapshot PreloadBackend::snapshot(bool last) {
    for (Living& living : living_) look_at_modules(living);
    Snapshot snapshot = last ? std::move(ended_) : ended_;
    for (Living& living : living_) append_table(living.table, living.index, elapsed_seconds(), snapshot);
    if (last) {
        recording_ = false;
        living_.clear();
    }
    module_files_.name_kept(snapshot);
    snapshot.sample_bytes = settings_.sample_bytes;
    snapshot.depth = settings_.depth;
    count_loss(snapshot, "processes not recorded any more: an exec that unfreed's library did not survive",
               unfollowed_);
    count_loss(snapshot, "processes not recorded: their memory limits have no room for unfreed's table",
               unmapped_);
    count_loss(snapshot, "processes not recorded: they load another version of unfreed",
               server_->other_versions());
    if (snapshot.processes.empty() && snapshot.losses.empty())
        snapshot.notes.push_back(
            "nothing was recorded: the program allocated nothing, or unfreed's library was not loaded into "
            "it");
    return snapshot;
}

std::int64_t PreloadBackend::elapsed_ms() const {
    using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::steady_clock;
    return duration_cast<milliseconds>(steady_clock::now() - started_).count();
}

}  // namespace unfreed
