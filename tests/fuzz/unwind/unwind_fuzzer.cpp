// Any bytes as call frame information: compiling them must end, within the bytes, and give rows in order. The
// first byte chooses what the rest is: instructions of a function in a good section, a section of either
// kind, an ELF image.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "symbolizer/unwind/unwind_table.h"
#include "tests/unit/unwind/frame_builder.h"

namespace {
using namespace unfreed::unwind;
using unfreed::unwind::testing::FrameBuilder;

void check(const UnwindTable& table) {
    for (std::size_t i = 1; i < table.rows.size(); ++i) {
        if (table.rows[i - 1].pc >= table.rows[i].pc) std::abort();
    }
}

UnwindTable compile(std::span<const std::byte> bytes, bool debug_frame) {
    const FrameSection section{bytes, FrameBuilder::kAddress, debug_frame};
    const AddressRange code{0x1000, 0x9000};
    return compile_sections({&section, 1}, {&code, 1});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto rest = std::as_bytes(std::span(data + 1, size - 1));
    switch (data[0] % 4) {
        case 0: {
            FrameBuilder builder;
            builder.cie();
            builder.fde(0x2000, 0x400, std::span(data + 1, size - 1));
            check(compile(builder.bytes(), false));
            break;
        }
        case 1:
            check(compile(rest, false));
            break;
        case 2:
            check(compile(rest, true));
            break;
        default:
            check(compile_image(rest));
            break;
    }
    return 0;
}
