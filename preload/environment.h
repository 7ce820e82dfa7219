// The environment without getenv: other preloaded libraries may have wrapped it, and hooks run before libc's
// start.
#pragma once
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace unfreed::preload {

inline bool environment_is_ready() {
    return environ != nullptr;
}

inline const char* environment(const char* name) {
    size_t length = strlen(name);
    for (char** entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
    return nullptr;
}

// The number that `text` begins with; digits only.
inline uint64_t decimal(const char* text) {
    uint64_t value = 0;
    while (*text >= '0' && *text <= '9') value = value * 10 + static_cast<uint64_t>(*text++ - '0');
    return value;
}

}
