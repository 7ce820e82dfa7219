// What the kernel says of a process, and how people name its end.
#pragma once
#include <sys/types.h>

#include <optional>
#include <string>

namespace unfreed {

// Short name, as in /proc/PID/comm; empty when the process is gone.
std::string process_name(pid_t pid);

// Path of its executable; empty when it is gone or not ours to see.
std::string process_executable(pid_t pid);

// Which file its executable is, whatever the file is called by now; {0, 0} when that is not ours to see.
struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileId&) const = default;
};
FileId process_executable_id(pid_t pid);

// How a process ended, as a status of waitpid, of a process that is not our child too: nullopt when the
// kernel does not tell any more. `pidfd`: opened while it lived.
std::optional<int> ended_status(pid_t pid, int pidfd);

// "exited with 0", "killed by SIGKILL", "killed by SIGSEGV (core dumped)".
std::string describe_end(int wait_status);

// The status that a shell would show: 128+N when killed by signal N.
int exit_code_of(int wait_status);

}  // namespace unfreed
