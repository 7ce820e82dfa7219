// clock FILE COMMAND [ARG...]: runs the command and writes to FILE what it alone took, so that the work of a
// tracer around it is told apart: "start_ns end_ns user_us system_us max_rss_kib status" (CLOCK_MONOTONIC;
// its waited-for children are included). Small on purpose: a child's maximum of resident memory starts at its
// parent's.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char** environ;

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static long long microseconds(struct timeval time) {
    return time.tv_sec * 1000000ll + time.tv_usec;
}

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t child;
    const long long start = now_ns();
    if (posix_spawnp(&child, argv[3], &actions, NULL, argv + 3, environ) != 0) return 127;
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
