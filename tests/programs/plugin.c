// A library whose frames depend on how it is built: the same code at the same offsets with other frame sizes
// (PLUGIN_FRAME), so that a return address keeps its value and changes its meaning when one library takes the
// other's place.
#include <stddef.h>

typedef void* (*callback)(size_t);

#define NAME_(a, b) a##b
#define NAME(a, b) NAME_(a, b)

__attribute__((noinline, noipa)) static void* inner(callback call, size_t bytes) {
    char frame[PLUGIN_FRAME];
    __asm__ volatile("" : : "r"(frame) : "memory");
    void* p = call(bytes);
    __asm__ volatile("" : : "r"(frame) : "memory");
    return p;
}

__attribute__((noinline, noipa)) void* NAME(site_, PLUGIN_NAME)(callback call, size_t bytes) {
    char frame[PLUGIN_FRAME / 2];
    __asm__ volatile("" : : "r"(frame) : "memory");
    void* p = inner(call, bytes);
    __asm__ volatile("" : : "r"(frame) : "memory");
    return p;
}

void* plugin_entry(callback call, size_t bytes) {
    void* p = NAME(site_, PLUGIN_NAME)(call, bytes);
    __asm__ volatile("");
    return p;
}
