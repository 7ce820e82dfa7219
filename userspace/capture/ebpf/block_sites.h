// Where inside of a function that allocates its block is known already, on an instruction where a probe is
// cheap (decoder.h): one trap there instead of a probe at the entry and one at the return, and no return
// address replaced.
//
// By a dataflow analysis of the function's code. Backwards from its returns: from which point on rax is what
// will be returned, whatever way is taken (or the function never returns). Forwards from its entry: which
// registers hold its first argument, or the product of two. glibc's malloc, for one, takes a block from its
// thread's cache and checks it, `test $15,%al; jne`, with the block in rax and the size in rbx.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace unfreed::ebpf {

// A place, and how to find the caller's frame from there.
struct Place {
    std::uint32_t offset = 0;  // from the function's first byte
    std::uint32_t depth = 0;   // bytes on the stack since the entry
    std::uint32_t rbp = 0;     // words below the CFA where the caller's rbp is; 0: in rbp
};
struct BlockSite {
    Place place;
    std::optional<unsigned> size;  // register that holds the size; nothing: a SizeSite told it
};
struct SizeSite {
    Place place;
    unsigned size = 0;
};

struct BlockSites {
    // Each call that returns a block passes just one of these, with the block in rax. One that returns null
    // passes any or none, with 0 in rax.
    std::vector<BlockSite> blocks;
    // Passed before those of `blocks` that do not know the size.
    std::vector<SizeSite> sizes;
};

enum class SizeOf { kFirst, kProduct };  // block = f(size), block = f(count, size)

// `returns_first(offset)`: does the function there, outside of `code`, return its first argument (memset)?
// Nothing: there are no such places, or it cannot be proven.
std::optional<BlockSites> find_block_sites(std::span<const std::byte> code, SizeOf size,
                                           const std::function<bool(std::uint64_t offset)>& returns_first);

}  // namespace unfreed::ebpf
