#include "userspace/capture/ebpf/raw_walk.h"

#include <cstring>

namespace unfreed::ebpf {
namespace {

int uf_read_word(void* memory, std::uint64_t address, std::uint64_t* value) {
    const auto& raw = *static_cast<const uf_raw_stack_event*>(memory);
    const std::uint64_t at = address - raw.at.sp;
    const std::uint64_t bytes = raw.bytes < sizeof raw.memory ? raw.bytes : sizeof raw.memory;
    if (at >= bytes || bytes - at < sizeof *value) return -1;
    std::memcpy(value, raw.memory + at, sizeof *value);
    return 0;
}

#include "bpf/walk.h"

}  // namespace

uf_end walk_raw_stack(const uf_raw_stack_event& raw, const ProcessImage& image, std::size_t depth,
                      std::vector<std::uint64_t>& frames) {
    uf_raw_stack_event copy = raw;
    uf_frame frame{raw.at, 0, static_cast<int>(raw.exact), 0};
    while (frames.size() < depth) {
        const std::uint64_t pc = uf_lookup_pc(&frame);
        const CodeModule* const module = image.module_at(pc);
        if (module == nullptr) return UF_END_UNKNOWN_CODE;
        frames.push_back(frame.at.pc | (frame.exact ? UF_FRAME_EXACT : 0));
        const uf_rule rule = module->file == nullptr
                                 ? uf_rule{0, 0, UF_CFA_NO_ROW}
                                 : unwind::rule_at(module->file->table(), pc - module->bias);
        const uf_end end = uf_step(&copy, &frame, rule);
        if (end != UF_END_NONE) return end;
    }
    return UF_END_DEPTH;
}

}  // namespace unfreed::ebpf
