// Any bytes as the code of a function that allocates: the search for places to probe must end, and give such
// as lie on its instructions. The first byte chooses how the function is asked, and what jumps out of it do.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "userspace/capture/ebpf/block_sites.h"
#include "userspace/capture/ebpf/probe_site.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace unfreed::ebpf;
    if (size == 0) return 0;
    const auto code = std::as_bytes(std::span(data + 1, size - 1));
    const bool returns_first = data[0] & 2;
    const auto sites = find_block_sites(code, data[0] & 1 ? SizeOf::kProduct : SizeOf::kFirst,
                                        [&](std::uint64_t) { return returns_first; });
    if (sites) {
        if (sites->blocks.empty()) std::abort();
        for (const BlockSite& site : sites->blocks) {
            if (site.place.offset >= code.size() || (site.size && *site.size > 15)) std::abort();
        }
        for (const SizeSite& site : sites->sizes) {
            if (site.place.offset >= code.size() || site.size > 15) std::abort();
        }
    }
    if (choose_probe_site(code, 2, true).offset > code.size()) std::abort();
    for (const std::uint64_t target : targets_of(code, 0)) {
        if (!calls(code, 0, target)) std::abort();
    }
    return 0;
}
