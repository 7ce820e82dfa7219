#include "symbolizer/mini_debug_info.h"

#include <lzma.h>

#include <algorithm>

namespace unfreed::symbolizer {
namespace {

// Of a file that nobody vouches for: a few bytes of xz can hold gigabytes.
constexpr std::size_t kLargestImage = 64u << 20;
constexpr std::uint64_t kDecoderMemory = 128u << 20;

// Empty on any error.
std::vector<char> decompress(std::span<const char> packed) {
    lzma_stream stream = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&stream, kDecoderMemory, 0) != LZMA_OK) return {};
    std::vector<char> image(std::min(kLargestImage, packed.size() * 4 + 4096));
    stream.next_in = reinterpret_cast<const std::uint8_t*>(packed.data());
    stream.avail_in = packed.size();
    stream.next_out = reinterpret_cast<std::uint8_t*>(image.data());
    stream.avail_out = image.size();
    lzma_ret result = LZMA_OK;
    while ((result = lzma_code(&stream, LZMA_FINISH)) == LZMA_OK && stream.avail_out == 0) {
        const std::size_t done = image.size();
        if (done >= kLargestImage) break;
        image.resize(std::min(kLargestImage, done * 2));
        stream.next_out = reinterpret_cast<std::uint8_t*>(image.data() + done);
        stream.avail_out = image.size() - done;
    }
    const std::size_t size = image.size() - stream.avail_out;
    lzma_end(&stream);
    if (result != LZMA_STREAM_END) return {};
    image.resize(size);
    return image;
}

}  // namespace

std::unique_ptr<ElfFile> mini_debug_info(const ElfFile& file) {
    const std::span<const char> packed = file.bytes(".gnu_debugdata");
    if (packed.empty()) return nullptr;
    std::vector<char> image = decompress(packed);
    if (image.empty()) return nullptr;
    return ElfFile::from_memory(std::move(image)).file;
}

}  // namespace unfreed::symbolizer
