// Hooks of the functions that start a program, for those that the shim cannot follow into: they are counted
// and named, and where the shim would do harm they start without it. Everything else passes through as it
// came.
//
// A hook may run in the child of a vfork (whose memory is its parent's) or of a fork of many threads: it
// calls nothing that locks or allocates, and finds the real functions beforehand.
#include <spawn.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

#include "preload/contract/hello.h"
#include "preload/environment.h"
#include "preload/late.h"
#include "preload/program.h"
#include "preload/session.h"
#include "preload/system_call.h"
#include "preload/visibility.h"

using namespace unfreed::preload;

namespace {

using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                  char* const*, char* const*);
using Exec = int(const char*, char* const*, char* const*);
Late<Exec> real_execve{"execve", nullptr};
Late<Exec> real_execvpe{"execvpe", nullptr};
Late<Spawn> real_posix_spawn{"posix_spawn", nullptr};
Late<Spawn> real_posix_spawnp{"posix_spawnp", nullptr};

__attribute__((constructor)) void find_them() {
    real_execve.get(0);
    real_execvpe.get(0);
    real_posix_spawn.get(0);
    real_posix_spawnp.get(0);
}

constexpr size_t kPathBytes = 1024;

// The file that a search along PATH would start; empty: none, or a path too long.
void search(const char* name, char (&path)[kPathBytes]) {
    const char* folder = environment("PATH");
    for (folder = folder ? folder : "/bin:/usr/bin"; folder;) {
        const char* end = strstr(folder, ":");
        const size_t bytes = end ? static_cast<size_t>(end - folder) : strlen(folder);
        if (bytes + strlen(name) + 2 < kPathBytes) {
            memcpy(path, folder, bytes);
            size_t at = bytes;
            if (bytes != 0) path[at++] = '/';
            memcpy(path + at, name, strlen(name) + 1);
            if (system_call(SYS_access, word(path), X_OK) == 0) return;
        }
        folder = end ? end + 1 : nullptr;
    }
    path[0] = 0;
}

// The end of `path` into a slot of its own, unless it is there or all are taken.
void note_name(Table* table, const char* path) {
    const char* name = path;
    for (const char* at = path; *at; at++)
        if (*at == '/' && at[1]) name = at + 1;
    for (uint32_t slot = 0; slot < UF_PROGRAMS; slot++) {
        char* to = table->program(slot);
        if (strncmp(to, name, UF_PROGRAM_BYTES - 1) == 0) return;
        if (*to) continue;
        size_t bytes = strlen(name) < UF_PROGRAM_BYTES - 1 ? strlen(name) : UF_PROGRAM_BYTES - 1;
        memcpy(to, name, bytes);
        return;
    }
}

// One start of a program, from before the call until it comes back (it failed, or it was a spawn).
class Start {
  public:
    Start(const char* file, bool along_path, char* const* variables) : variables_(variables) {
        if (!file || !variables) return;
        char found[kPathBytes];
        const char* path = file;
        if (along_path && !strstr(file, "/")) {
            search(file, found);
            path = found;
        }
        const Obstacle obstacle = obstacle_of(path);
        if (obstacle == Obstacle::kNone && keeps_shim()) return;
        if (!environment(UF_ENV_NO_FOLLOW) && (table_ = open_table())) {
            table_->lose(UF_LOSS_program_without_shim);
            note_name(table_, path);
        }
        if (obstacle == Obstacle::kOtherLoader || obstacle == Obstacle::kSanitizer) leave_shim_out();
    }
    void failed() {
        if (table_)
            __atomic_fetch_sub(&table_->header()->loss[UF_LOSS_program_without_shim], 1, __ATOMIC_RELAXED);
    }
    char* const* variables() const { return variables_; }

  private:
    // Whether the program is to load our library at all.
    bool keeps_shim() const {
        for (char* const* variable = variables_; *variable; variable++)
            if (strncmp(*variable, kPreload, strlen(kPreload)) == 0)
                return strstr(*variable, kShim) != nullptr;
        return false;
    }
    // A copy of the list without our library; as it is when it is too long for us.
    void leave_shim_out() {
        size_t count = 0;
        for (char* const* variable = variables_; *variable; variable++) {
            if (count + 1 >= kMaxVariables) return;
            if (strncmp(*variable, kPreload, strlen(kPreload)) != 0) {
                kept_[count++] = *variable;
                continue;
            }
            const char* first = *variable + strlen(kPreload);
            const char* end = first + list_entry_bytes(first);
            if (!names_shim(first, end)) {
                kept_[count++] = *variable;
            } else if (*end) {
                const size_t others = strlen(end + 1);
                if (strlen(kPreload) + others >= sizeof preload_) return;
                memcpy(preload_, kPreload, strlen(kPreload));
                memcpy(preload_ + strlen(kPreload), end + 1, others + 1);
                kept_[count++] = preload_;
            }
        }
        kept_[count] = nullptr;
        variables_ = kept_;
    }
    // Where the first library of a list ends.
    static size_t list_entry_bytes(const char* text) {
        size_t bytes = 0;
        while (text[bytes] && text[bytes] != ':' && text[bytes] != ' ') bytes++;
        return bytes;
    }
    static bool names_shim(const char* first, const char* end) {
        const char* shim = strstr(first, kShim);
        return shim && shim < end;
    }

    static constexpr const char* kPreload = "LD_PRELOAD=";
    static constexpr const char* kShim = "/libunfreed_preload";
    static constexpr size_t kMaxVariables = 256;
    char* const* variables_;
    Table* table_ = nullptr;
    char* kept_[kMaxVariables];
    char preload_[kPathBytes];
};

int exec(const char* file, bool along_path, char* const* arguments, char* const* variables) {
    Start start(file, along_path, variables);
    Late<Exec>& real = along_path ? real_execvpe : real_execve;
    const int result = real.get(0)(file, arguments, start.variables());
    start.failed();
    return result;
}

int spawn(bool along_path, pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
          const posix_spawnattr_t* attributes, char* const* arguments, char* const* variables) {
    Start start(file, along_path, variables);
    Late<Spawn>& real = along_path ? real_posix_spawnp : real_posix_spawn;
    const int error = real.get(0)(pid, file, actions, attributes, arguments, start.variables());
    if (error != 0) start.failed();
    return error;
}

// The arguments of execl and its like as a list; `rest` ends behind the null that ends them.
size_t count_arguments(va_list rest) {
    size_t count = 1;
    while (va_arg(rest, const char*)) count++;
    return count;
}

}

UF_HOOK int execve(const char* path, char* const arguments[], char* const variables[]) noexcept {
    return exec(path, false, arguments, variables);
}
UF_HOOK int execv(const char* path, char* const arguments[]) noexcept {
    return exec(path, false, arguments, environ);
}
UF_HOOK int execvp(const char* file, char* const arguments[]) noexcept {
    return exec(file, true, arguments, environ);
}
UF_HOOK int execvpe(const char* file, char* const arguments[], char* const variables[]) noexcept {
    return exec(file, true, arguments, variables);
}

// `variables_follow`: the environment is one more argument behind the null.
#define UF_EXEC_LIST(name, along_path, variables_follow)                                    \
    UF_HOOK int name(const char* file, const char* first, ...) noexcept {                   \
        va_list rest;                                                                       \
        va_start(rest, first);                                                              \
        const size_t count = count_arguments(rest);                                         \
        va_end(rest);                                                                       \
        char* arguments[count + 1];                                                         \
        arguments[0] = const_cast<char*>(first);                                            \
        va_start(rest, first);                                                              \
        for (size_t i = 1; i <= count; i++) arguments[i] = va_arg(rest, char*);             \
        char* const* variables = (variables_follow) ? va_arg(rest, char* const*) : environ; \
        va_end(rest);                                                                       \
        return exec(file, along_path, arguments, variables);                                \
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wvla"
UF_EXEC_LIST(execl, false, false)
UF_EXEC_LIST(execlp, true, false)
UF_EXEC_LIST(execle, false, true)
#pragma GCC diagnostic pop

UF_HOOK int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                        const posix_spawnattr_t* attributes, char* const arguments[],
                        char* const variables[]) {
    return spawn(false, pid, path, actions, attributes, arguments, variables);
}
UF_HOOK int posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                         const posix_spawnattr_t* attributes, char* const arguments[],
                         char* const variables[]) {
    return spawn(true, pid, file, actions, attributes, arguments, variables);
}
