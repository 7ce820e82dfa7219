// plugin_swap BOOKS PLUGIN_A PLUGIN_B: opens one library, calls it, closes it, opens the other in its place,
// over and over; both allocate through the same return addresses with different frames. Ends with 1 if the
// two were never mapped at the same address (then nothing was tested).
#include <dlfcn.h>
#include <stdlib.h>

#include "tests/programs/books.h"

BOOKS_SITE(plugin_a, "malloc", "malloc");
BOOKS_SITE(plugin_b, "malloc", "malloc");

BOOKS_FUNCTION void* allocate(std::size_t bytes) {
    void* p = malloc(bytes);
    asm volatile("" : "+r"(p));
    return p;
}

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    using Entry = void* (*)(void* (*)(std::size_t), std::size_t);
    void* entries[2] = {};
    int same = 0;
    for (int i = 0; i < 40; ++i) {
        const int which = i % 2;
        void* library = dlopen(argv[2 + which], RTLD_NOW | RTLD_LOCAL);
        if (!library) return 97;
        void* entry = dlsym(library, "plugin_entry");
        if (!entry) return 97;
        entries[which] = entry;
        same += entries[0] == entries[1];
        for (int k = 0; k < 10; ++k)
            books::got(which ? page_plugin_b : page_plugin_a, reinterpret_cast<Entry>(entry)(allocate, 50),
                       50);
        dlclose(library);
    }
    books::write_file(argv[1]);
    return same ? 0 : 1;
}
