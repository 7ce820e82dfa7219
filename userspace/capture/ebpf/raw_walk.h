// Walks on, in userspace, a stack that the kernel could not: it met code that had been mapped a moment
// before. The same steps as in the kernel (bpf/walk.h), on the bytes that the kernel copied.
#pragma once
#include <cstdint>
#include <vector>

#include "bpf/contract/capture.h"
#include "userspace/capture/ebpf/process_image.h"

namespace unfreed::ebpf {

// Appends frames until the stack ends, `depth` frames are there, or the copy is used up.
uf_end walk_raw_stack(const uf_raw_stack_event& raw, const ProcessImage& image, std::size_t depth,
                      std::vector<std::uint64_t>& frames);

}  // namespace unfreed::ebpf
