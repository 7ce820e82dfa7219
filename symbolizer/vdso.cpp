#include "symbolizer/vdso.h"

#include <cstdio>
#include <fstream>

namespace unfreed::symbolizer {

bool is_vdso(std::string_view path) {
    return path == "[vdso]" || path == "linux-vdso.so.1" || path == "linux-gate.so.1";
}

ElfFile::Opened open_vdso() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        unsigned long start = 0;
        unsigned long end = 0;
        if (!line.ends_with("[vdso]") || std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) != 2) continue;
        const char* image = reinterpret_cast<const char*>(start);  // NOLINT(performance-no-int-to-ptr)
        return ElfFile::from_memory(std::vector<char>(image, image + (end - start)));
    }
    return {nullptr, Reason::kNoFile};
}

}  // namespace unfreed::symbolizer
