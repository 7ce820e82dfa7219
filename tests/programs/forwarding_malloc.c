// A library that forwards malloc and friends to the next ones, which it finds by dlsym only when they are
// first called, and that makes dlsym fail and allocate its message before that: another tool in LD_PRELOAD,
// and the hard case of calloc being called before anybody knows the real one.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

// volatile: dlsym is declared as a function that never calls back into this file, and it does.
static __thread volatile int resolving;
static char early[65536];
static size_t early_used;

static void* early_block(size_t bytes) {
    void* p = early + early_used;
    early_used += (bytes + 15) & ~(size_t)15;
    return early_used <= sizeof early ? p : NULL;
}

static void* next(const char* name, void** known) {
    if (!*known) {
        resolving++;
        dlsym(RTLD_NEXT, "there is no such function");
        *known = dlsym(RTLD_NEXT, name);
        resolving--;
    }
    return *known;
}

#define FORWARD(RESULT, NAME, EARLY, PARAMETERS, ARGUMENTS)                   \
    RESULT NAME PARAMETERS {                                                  \
        static void* known;                                                   \
        if (resolving && !known) return EARLY;                                \
        RESULT(*real) PARAMETERS = (RESULT(*) PARAMETERS)next(#NAME, &known); \
        return real ARGUMENTS;                                                \
    }

FORWARD(void*, malloc, early_block(bytes), (size_t bytes), (bytes))
FORWARD(void*, calloc, early_block(n* bytes), (size_t n, size_t bytes), (n, bytes))
FORWARD(void*, realloc, NULL, (void* old, size_t bytes), (old, bytes))

void free(void* p) {
    static void* known;
    if ((char*)p >= early && (char*)p < early + sizeof early) return;
    if (resolving && !known) return;
    ((void (*)(void*))next("free", &known))(p);
}

// All are found before the program's own code runs: what dlsym allocates on the way is then on no path of the
// program's.
__attribute__((constructor)) static void find_all(void) {
    void* volatile first = malloc(8);
    void* volatile second = realloc(calloc(1, 8), 16);
    free(first);
    free(second);
}
