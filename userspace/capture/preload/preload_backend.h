// PreloadBackend: every process image that loads the shim says hello, gets a table of its own, and is read
// when it ends or when a snapshot is wanted.
#pragma once
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "userspace/capture/backend.h"
#include "userspace/capture/preload/module_files.h"
#include "userspace/capture/preload/session_server.h"
#include "userspace/capture/preload/shim.h"
#include "userspace/capture/preload/table_file.h"
#include "userspace/process/descriptor.h"
#include "userspace/process/process_facts.h"

namespace unfreed {

class PreloadBackend final : public Backend {
  public:
    // `shim`: the library's path. Error (125) when the settings or the system do not allow it.
    PreloadBackend(const CaptureSettings& settings, std::string shim);

    Variables environment(pid_t command) const override;
    Limits limits() const override;
    void command_created(pid_t pid, const std::string& executable) override;
    int event_descriptor() const override { return epoll_.get(); }
    void dispatch() override;
    int tick_interval_ms() const override;
    void tick() override;
    void process_ended(pid_t pid, int wait_status) override;
    bool finished() const override { return command_ended_ && living_.empty(); }
    std::vector<pid_t> living() const override;
    void for_each_block(pid_t pid, const VisitBlock& visit) const override;
    void stop_recording() override;
    Snapshot snapshot(bool last) override;

  private:
    // One process image that said hello and has not ended.
    struct Living {
        pid_t pid;
        ProcessIndex index;  // in ended_.processes
        Descriptor pidfd;
        TableFile table;
        std::int64_t since_ms;
        FileId executable;
        std::uint32_t modules_seen = 0;
        std::string untraced_image;  // it became another program by exec, which has not said hello
        Living(pid_t pid, ProcessIndex index, Descriptor pidfd, TableFile table, std::int64_t since_ms)
            : pid(pid),
              index(index),
              pidfd(std::move(pidfd)),
              table(std::move(table)),
              since_ms(since_ms),
              executable(process_executable_id(pid)) {}
    };
    using Place = std::list<Living>::iterator;

    SessionServer::Answer welcome(pid_t pid, const uf_hello& hello);
    void retire(Place living, const std::string& end);
    void look_at_modules(Living& living);
    void look_at_executable(Living& living);
    std::int64_t elapsed_ms() const;
    std::uint64_t elapsed_seconds() const { return static_cast<std::uint64_t>(elapsed_ms()) / 1000; }

    const CaptureSettings settings_;
    const std::string shim_;
    const AddressSpace address_space_;
    const std::chrono::steady_clock::time_point started_;
    Descriptor epoll_;
    std::unique_ptr<SessionServer> server_;
    std::list<Living> living_;  // a list: epoll's data are pointers into it
    Snapshot ended_;            // all processes, and what those that ended left
    ModuleFiles module_files_;
    pid_t command_ = -1;
    bool command_ended_ = false;
    bool recording_ = true;
    std::uint64_t unfollowed_ = 0;  // processes that ended as a program without the shim
    std::uint64_t unmapped_ = 0;    // processes that ended without having used their table
};

}  // namespace unfreed
