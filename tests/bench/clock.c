// clock [--held] FILE OUTPUT COMMAND [ARG...]: runs the command, its standard output into OUTPUT, and writes
// to FILE what it alone took, so that the work of a tracer around it is told apart: "start_ns end_ns user_us
// system_us max_rss_kib" (CLOCK_MONOTONIC; its waited-for children are included). Small on purpose: a child's
// maximum of resident memory starts at its parent's.
//
// --held: the command's process is there, its id on standard output, and begins when a byte comes on standard
// input. So a tracer can attach to it first.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static long long microseconds(struct timeval time) {
    return time.tv_sec * 1000000ll + time.tv_usec;
}

static int got_byte(int descriptor) {
    char byte;
    return read(descriptor, &byte, 1) == 1;
}

// Both give the command's process, -1 when there is none, and when it began.
static pid_t start_at_once(const char* output, char** command, long long* start) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t child;
    *start = now_ns();
    return posix_spawnp(&child, command[0], &actions, NULL, command, environ) == 0 ? child : -1;
}

static pid_t start_when_told(const char* output, char** command, long long* start) {
    int gate[2];
    const int file = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || pipe2(gate, O_CLOEXEC) != 0) return -1;
    const pid_t child = fork();
    if (child == 0) {
        close(gate[1]);
        if (!got_byte(gate[0])) _exit(127);
        dup2(file, 1);
        execvp(command[0], command);
        _exit(127);
    }
    printf("%d\n", child);
    fflush(stdout);
    if (!got_byte(0)) return -1;
    *start = now_ns();
    return write(gate[1], "", 1) == 1 ? child : -1;
}

int main(int argc, char** argv) {
    const int held = argc > 1 && strcmp(argv[1], "--held") == 0;
    argc -= held;
    argv += held;
    if (argc < 4) return 2;
    long long start;
    const pid_t child =
        held ? start_when_told(argv[2], argv + 3, &start) : start_at_once(argv[2], argv + 3, &start);
    if (child < 0) return 127;
    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR) return 125;
    const long long end = now_ns();
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

    FILE* file = fopen(argv[1], "w");
    if (file == NULL) return 125;
    fprintf(file, "%lld %lld %lld %lld %ld\n", start, end, microseconds(usage.ru_utime),
            microseconds(usage.ru_stime), usage.ru_maxrss);
    return fclose(file) == 0 ? code : 125;
}
