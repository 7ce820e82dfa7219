// A C program that calls into a Go library, from its first thread and from one that Go has never seen.
#include <pthread.h>

void Enter(int bytes);

__attribute__((noinline, noipa)) void* run(void* unused) {
    for (int i = 0; i < 5; ++i) Enter(77);
    return unused;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, 0, run, 0) != 0) return 1;
    pthread_join(thread, 0);
    run(0);
    return 0;
}
