// Any bytes as a Go program: opening and looking up must end, within the bytes. The bytes are patches of
// small good files in every layout, or, after a byte from 0x80 on, the file itself.
#include <libelf.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "symbolizer/go/go_symbols.h"
#include "tests/unit/go/go_file_builder.h"

namespace {
using unfreed::testing::GoFileBuilder;

// The first byte chooses a good file; the rest are patches of it, five bytes each: where (two), what (two),
// how (one). Random bytes alone would hardly ever get past the ELF headers.
std::string patched(const std::uint8_t* data, std::size_t size) {
    GoFileBuilder builder(static_cast<GoFileBuilder::Layout>(data[0] & 3));
    if (data[0] & 4) builder.relocated();
    if (data[0] & 8) builder.as_go_126();
    builder.own_section((data[0] & 16) == 0);
    std::string file = builder.build();
    for (std::size_t i = 1; i + 5 <= size; i += 5) {
        const std::size_t at = (data[i] | data[i + 1] << 8) % file.size();
        file[at] = static_cast<char>(data[i + 2]);
        if (data[i + 4] & 1 && at + 1 < file.size()) file[at + 1] = static_cast<char>(data[i + 3]);
        if (data[i + 4] & 2) file.resize(at + 1);
    }
    return file;
}

void look_everywhere(std::string file) {
    Elf* elf = elf_memory(file.data(), file.size());
    if (elf == nullptr) return;
    if (const auto symbols = unfreed::symbolizer::go::GoSymbols::open(elf)) {
        for (std::uint64_t at = 0; at < 0x68; at += 4)
            for (const auto& frame : symbols->lookup(GoFileBuilder::kText + at))
                if (frame.function.size() + frame.file.size() > 2 * file.size()) std::abort();
    }
    elf_end(elf);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    elf_version(EV_CURRENT);
    if (size == 0) return 0;
    if (data[0] & 0x80)
        look_everywhere(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
    else
        look_everywhere(patched(data, size));
    return 0;
}
