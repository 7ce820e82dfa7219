#include "userspace/capture/ebpf/code_file.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "userspace/capture/ebpf/code_mappings.h"

namespace {
using namespace unfreed;
using namespace unfreed::ebpf;

CodeFile file_of(const void* symbol, const Functions& functions) {
    Dl_info info{};
    REQUIRE(dladdr(symbol, &info) != 0);
    return CodeFile(Descriptor(open(info.dli_fname, O_RDONLY | O_CLOEXEC)), functions);
}

const FoundFunction* find(const CodeFile& file, const Functions& functions, const char* symbol) {
    const auto& all = file.functions();
    const auto found = std::find_if(all.begin(), all.end(), [&](const FoundFunction& f) {
        return f.function.index == functions.find(symbol)->index && f.probed;
    });
    return found == all.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("libc's malloc, calloc, realloc and free are found") {
    const Functions functions({});
    const CodeFile libc = file_of(reinterpret_cast<const void*>(&fflush), functions);
    for (const char* symbol : {"malloc", "calloc", "realloc", "free"}) {
        CAPTURE(symbol);
        CHECK(find(libc, functions, symbol) != nullptr);
    }
    CHECK(libc.is_allocator());
}

TEST_CASE("libstdc++'s operator new only says what it was asked for, and the others hand on to it") {
    const Functions functions({});
    // By a symbol that no sanitizer stands in for.
    const CodeFile library = file_of(dlsym(RTLD_DEFAULT, "_ZSt20__throw_length_errorPKc"), functions);
    REQUIRE(find(library, functions, "_Znwm") != nullptr);
    CHECK(find(library, functions, "_Znwm")->function.kind == UF_CALL_ASK);
    CHECK(find(library, functions, "_Znwm")->emulated);
    for (const char* symbol : {"_Znam", "_ZnwmRKSt9nothrow_t", "_ZdlPv"}) {
        CAPTURE(symbol);
        CHECK(find(library, functions, symbol) == nullptr);
    }
    CHECK_FALSE(library.is_allocator());
}

TEST_CASE("a mapping's bias leads from the process to the file's symbols") {
    const Functions functions({});
    const auto mappings = read_code_mappings(getpid());
    REQUIRE(mappings);
    const auto here = reinterpret_cast<std::uint64_t>(dlsym(RTLD_DEFAULT, "calloc"));
    const auto mapping = std::find_if(mappings->begin(), mappings->end(),
                                      [&](const CodeMapping& m) { return m.begin <= here && here < m.end; });
    REQUIRE(mapping != mappings->end());
    const CodeFile file(open_mapped_file(getpid(), *mapping), functions);
    const auto bias = file.bias(mapping->begin, mapping->offset);
    REQUIRE(bias);
    const FoundFunction* const found = file.function_at(here - *bias);
    REQUIRE(found != nullptr);
    CHECK(found->address == here - *bias);
}

TEST_CASE("a file that is no ELF file has nothing") {
    const Functions functions({});
    const CodeFile file(Descriptor(open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)), functions);
    CHECK(file.functions().empty());
    CHECK(file.table().rows.empty());
    CHECK_FALSE(file.bias(0, 0));
}
