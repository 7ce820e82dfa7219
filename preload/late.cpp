#include "preload/late.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>

#include "preload/inner_calls.h"

namespace unfreed::preload {

void* find_late(const char* symbol, uint64_t caller) {
    if (void* next = dlsym(RTLD_NEXT, symbol)) return next;
    dl_find_object from;
    if (_dl_find_object(reinterpret_cast<void*>(caller), &from) != 0) return nullptr;
    void* library = dlopen(from.dlfo_link_map->l_name, RTLD_LAZY | RTLD_NOLOAD);
    if (!library) return nullptr;
    void* found = dlsym(library, symbol);
    dlclose(library);  // it is loaded anyway, by whoever called from it
    return found;
}

bool in_cxx_runtime(const void* code) {
    dl_find_object object;
    if (_dl_find_object(const_cast<void*>(code), &object) != 0) return false;
    const char* name = object.dlfo_link_map->l_name;
    return strstr(name, "libstdc++.so") || strstr(name, "libc++.so") || strstr(name, "libc++abi.so");
}

void add_inner_function(const void* code) {
    Dl_info info;
    ElfW(Sym)* symbol = nullptr;
    if (dladdr1(code, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) == 0 || !symbol) return;
    auto start = reinterpret_cast<uint64_t>(info.dli_saddr);
    if (symbol->st_size != 0) add_inner_range(start, start + symbol->st_size);
}

void add_inner_shim() {
    dl_find_object shim;
    if (_dl_find_object(reinterpret_cast<void*>(&add_inner_shim), &shim) == 0)
        add_inner_range(reinterpret_cast<uint64_t>(shim.dlfo_map_start),
                        reinterpret_cast<uint64_t>(shim.dlfo_map_end));
}

}
