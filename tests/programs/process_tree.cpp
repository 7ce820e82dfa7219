// process_tree BOOKS MODE: makes processes in the way that MODE names. Each process allocates from sites of
// its own and writes its books to BOOKS.ROLE: first, child, image (after an exec).
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/programs/books.h"

BOOKS_MALLOC(before)
BOOKS_MALLOC(first)
BOOKS_MALLOC(child)
BOOKS_MALLOC(grandchild)
BOOKS_MALLOC(image)

extern char** environ;

namespace {

const char* books_path;
const char* program;
books::Block inherited[10];

void close_books(const char* role) {
    static char path[4096];
    *books::put(books::put(books::put(path, books_path), "."), role) = 0;
    books::write_file(path);
}

void must(bool holds, const char* what) {
    if (holds) return;
    perror(what);
    _exit(97);
}

void wait_for(pid_t pid) {
    int status = 0;
    must(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "child");
}

[[noreturn]] void live_as_child() {
    books::start_over();
    for (int i = 0; i < 30; ++i) site_child(100);
    for (int i = 0; i < 5; ++i)
        free(inherited[i].address);  // the child's copies: the parent's stay outstanding
    free(site_child(5000).address);
    books::gave(page_child, 1, 5000);
    close_books("child");
    _exit(0);
}

void end_as_first() {
    for (int i = 0; i < 40; ++i) site_first(10);
    free(inherited[9].address);
    books::gave(inherited[9]);
    close_books("first");
}

char* const* image_arguments() {
    static char role[] = "as_image";
    static char* arguments[4];
    arguments[0] = const_cast<char*>(program);
    arguments[1] = const_cast<char*>(books_path);
    arguments[2] = role;
    return arguments;
}

void as_image() {
    for (int i = 0; i < 50; ++i) site_image(7);
    close_books("image");
}

void by_fork() {
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) live_as_child();
    wait_for(pid);
    end_as_first();
}

void by_raw_clone() {  // no atfork handler runs
    const long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    must(pid >= 0, "clone");
    if (pid == 0) live_as_child();
    wait_for(static_cast<pid_t>(pid));
    end_as_first();
}

void by_fork_twice() {  // a fork's child forks
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        books::start_over();
        site_child(100);
        const pid_t grandchild = fork();
        must(grandchild >= 0, "fork");
        if (grandchild == 0) {
            books::start_over();
            for (int i = 0; i < 3; ++i) site_grandchild(1000);
            close_books("grandchild");
            _exit(0);
        }
        wait_for(grandchild);
        close_books("child");
        _exit(0);
    }
    wait_for(pid);
    end_as_first();
}

void by_vfork() {
    const pid_t pid = vfork();
    must(pid >= 0, "vfork");
    if (pid == 0) {
        execve(program, image_arguments(), environ);
        _exit(96);
    }
    wait_for(pid);
    end_as_first();
}

void by_spawn() {
    pid_t pid = 0;
    must(posix_spawn(&pid, program, nullptr, nullptr, image_arguments(), environ) == 0, "posix_spawn");
    wait_for(pid);
    end_as_first();
}

void by_fork_and_exec() {
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        books::start_over();
        site_child(1);
        close_books("child");
        execve(program, image_arguments(), environ);
        _exit(96);
    }
    wait_for(pid);
    end_as_first();
}

void by_exec() {  // an image ends when another replaces it: what it held then is what it left
    close_books("first");
    execve(program, image_arguments(), environ);
    must(false, "execve");
}

void by_failed_exec() {
    execve("/nonexistent", image_arguments(), environ);
    end_as_first();
}

void by_closefrom() {
    closefrom(3);
    end_as_first();
    by_fork();
}

void by_chroot() {
    char folder[] = "/tmp/unfreed-chroot-XXXXXX";
    must(mkdtemp(folder) != nullptr, "mkdtemp");
    const int old_root = open("/", O_RDONLY | O_DIRECTORY);
    must(chroot(folder) == 0 && chdir("/") == 0, "chroot");
    for (int i = 0; i < 20; ++i) site_first(10);
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {  // books are written outside the new root
        books::start_over();
        for (int i = 0; i < 30; ++i) site_child(100);
        must(fchdir(old_root) == 0 && chroot(".") == 0, "chroot back");
        close_books("child");
        _exit(0);
    }
    wait_for(pid);
    must(fchdir(old_root) == 0 && chroot(".") == 0, "chroot back");
    must(rmdir(folder) == 0, "rmdir");
    end_as_first();
}

void by_daemon() {  // the first process ends at once; its grandchild lives on in a session of its own
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        setsid();
        const pid_t daemon = fork();
        must(daemon >= 0, "fork");
        if (daemon != 0) _exit(0);
        closefrom(3);
        live_as_child();
    }
    wait_for(pid);
    end_as_first();
}

struct Mode {
    const char* name;
    void (*run)();
};
constexpr Mode kModes[] = {{"fork", by_fork},           {"fork_twice", by_fork_twice},
                           {"raw_clone", by_raw_clone}, {"vfork", by_vfork},
                           {"spawn", by_spawn},         {"fork_and_exec", by_fork_and_exec},
                           {"exec", by_exec},           {"failed_exec", by_failed_exec},
                           {"closefrom", by_closefrom}, {"chroot", by_chroot},
                           {"daemon", by_daemon},       {"as_image", as_image}};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    program = argv[0];
    books_path = argv[1];
    for (const Mode& mode : kModes) {
        if (strcmp(mode.name, argv[2]) != 0) continue;
        if (mode.run != as_image)
            for (books::Block& block : inherited) block = site_before(64);
        mode.run();
        return 0;
    }
    return 2;
}
