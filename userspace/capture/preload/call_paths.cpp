#include "userspace/capture/preload/call_paths.h"

#include <algorithm>
#include <utility>

#include "userspace/snapshot/mat_shape.h"

namespace unfreed {
namespace {

constexpr NodeIndex kOnTheWay = kNone - 1;

}  // namespace

CallPaths::CallPaths(std::vector<uf_node> nodes, std::vector<ModuleIndex> modules, Snapshot& into)
    : nodes_(std::move(nodes)),
      modules_(std::move(modules)),
      into_(into),
      taken_(nodes_.size(), kNone),
      first_frame_(static_cast<FrameIndex>(into.frames.size())) {
    if (!taken_.empty()) taken_[0] = 0;
}

NodeIndex CallPaths::take_over(std::uint32_t stack) {
    // Outwards to the first node that is in the Snapshot already, then back inwards, so that callers come
    // first.
    way_.clear();
    std::uint32_t node = stack;
    while (node < nodes_.size() && taken_[node] == kNone) {
        taken_[node] = kOnTheWay;
        way_.push_back(node);
        node = nodes_[node].caller;
    }
    NodeIndex caller = 0;
    if (node >= nodes_.size() || taken_[node] == kOnTheWay)
        ++broken_;
    else
        caller = taken_[node];
    for (; !way_.empty(); way_.pop_back()) {
        const auto here = static_cast<NodeIndex>(into_.nodes.size());
        into_.nodes.push_back({caller, frame_of(nodes_[way_.back()].pc)});
        taken_[way_.back()] = here;
        caller = here;
    }
    return caller;
}

std::uint32_t CallPaths::leaf_of(std::uint32_t stack) const {
    for (std::uint32_t i = 0; i <= UF_DIMENSIONS_MAX && stack < nodes_.size(); ++i) {
        if (nodes_[stack].pc < UF_PC_EXTENT) break;
        stack = nodes_[stack].caller;
    }
    return stack;
}

std::uint32_t CallPaths::shape_of(std::uint32_t stack) {
    constexpr std::uint64_t kTag = 0xffffull << UF_PC_MODULE_SHIFT;
    if (stack >= nodes_.size() || (nodes_[stack].pc & kTag) != UF_PC_TYPE) return 0;
    const std::uint64_t type = nodes_[stack].pc & ~kTag;
    std::vector<std::uint32_t> extents;
    for (std::uint64_t left = type >> 16; left != 0 && left <= UF_DIMENSIONS_MAX; --left) {
        stack = nodes_[stack].caller;
        if (stack >= nodes_.size() || (nodes_[stack].pc & kTag) != UF_PC_EXTENT) return 0;
        extents.push_back(static_cast<std::uint32_t>(nodes_[stack].pc));
    }
    if (extents.empty()) return 0;
    std::reverse(extents.begin(), extents.end());
    const auto [known, is_new] = shapes_.try_emplace(mat_shape_text(type & 0xfff, extents),
                                                     static_cast<std::uint32_t>(into_.shapes.size()));
    if (is_new) into_.shapes.push_back(known->first);
    return known->second;
}

std::uint32_t CallPaths::function_of(std::uint32_t stack) const {
    if (stack >= nodes_.size() || nodes_[stack].pc >= UF_FUNCTION_COUNT) return UF_FUNCTION_NONE;
    return static_cast<std::uint32_t>(nodes_[stack].pc);
}

FrameIndex CallPaths::frame_of(std::uint64_t pc) {
    const auto next = static_cast<std::uint32_t>(pcs_.size());
    const std::uint32_t position =
        frames_.find_or_add(mix_bits(pc), next, [&](std::uint32_t i) { return pcs_[i] == pc; });
    if (position == next) {
        pcs_.push_back(pc);
        Frame frame;
        if (pc < UF_FUNCTION_COUNT) {
            frame.kind = Frame::Kind::kFunction;
            frame.function = static_cast<std::uint32_t>(pc);
        } else if (pc >= UF_PC_CREATION) {
            frame.kind = Frame::Kind::kCreation;
            frame.address = pc & UF_PC_ADDRESS;
            for (const ModuleIndex module : modules_) {
                if (module != kNone && frame.address > into_.modules[module].start &&
                    frame.address <= into_.modules[module].end)
                    frame.module = module;
            }
        } else {
            frame.kind = (pc & UF_PC_EXACT) != 0 ? Frame::Kind::kExact : Frame::Kind::kReturn;
            frame.address = pc & UF_PC_ADDRESS;
            const std::uint64_t module = pc >> UF_PC_MODULE_SHIFT;
            if (module != 0 && module <= modules_.size()) frame.module = modules_[module - 1];
        }
        into_.frames.push_back(frame);
    }
    return first_frame_ + position;
}

}  // namespace unfreed
