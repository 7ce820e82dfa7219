// Any bytes as the file of a module: each address gets a name or a reason, and nothing crashes. Good seeds
// are small libraries with DWARF, stripped ones, and one with .gnu_debugdata (the build folder of
// tests/unit/symbolizer).
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "symbolizer/demangle.h"
#include "symbolizer/symbolizer.h"

using namespace unfreed::symbolizer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const int descriptor = ::memfd_create("module", MFD_CLOEXEC);
    if (descriptor < 0 || ::write(descriptor, bytes, size) != static_cast<ssize_t>(size)) std::abort();
    ModuleInput module;
    module.path = "/proc/self/fd/" + std::to_string(descriptor);
    std::vector<std::uint64_t> addresses{0, UINT64_MAX};
    for (std::uint64_t address = 0x400; address < 0x5000; address += 24) addresses.push_back(address);
    const ModuleNames names = name_addresses(module, addresses, {{}});
    ::close(descriptor);

    if (names.locations.size() != addresses.size()) std::abort();
    for (const Location& location : names.locations) {
        if ((location.count == 0) != (location.reason != Reason::kNone)) std::abort();
        if (location.first + location.count > names.lines.size()) std::abort();
    }
    for (const Line& line : names.lines)
        if (line.function >= names.functions.size()) std::abort();
    demangle(std::string(reinterpret_cast<const char*>(bytes), size));
    return 0;
}
