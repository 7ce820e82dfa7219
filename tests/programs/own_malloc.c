// Defines its own malloc, as Chromium and many Rust and game binaries do: a shim cannot see what it
// allocates.
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static char heap[1 << 20] __attribute__((aligned(16)));
static size_t used;

void* malloc(size_t bytes) {
    void* p = heap + used;
    used += (bytes + 15) & ~(size_t)15;
    return used <= sizeof heap ? p : NULL;
}
void free(void* p) {
    (void)p;
}
void* calloc(size_t n, size_t bytes) {
    return malloc(n * bytes);
}
void* realloc(void* old, size_t bytes) {
    void* p = malloc(bytes);
    if (p && old) memcpy(p, old, bytes);
    return p;
}

int main(void) {
    void* volatile p = malloc(100);
    (void)p;
    return write(1, "own malloc\n", 11) == 11 ? 0 : 1;
}
