#include "userspace/capture/ebpf/sample_groups.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "userspace/snapshot/age_bucket.h"
#include "userspace/snapshot/mat_shape.h"

namespace unfreed::ebpf {
namespace {

constexpr double kObjectUnit = 1024;  // of totals when sampling (bpf/probes.bpf.c)

// Why stacks end early, by uf_end.
constexpr std::array<const char*, UF_END_UNKNOWN_CODE + 1> kEnds{
    nullptr,
    nullptr,
    "allocations whose call path was cut: deeper than --depth",
    "allocations whose call path was cut: a stack slot could not be read",
    "allocations whose call path was cut: code without unwind information or frame pointers",
    "allocations whose call path was cut: unwind information that unfreed cannot express",
    "allocations whose call path was cut: code that was mapped a moment before",
};

}  // namespace

// Seconds, at least: an epoch is a whole second, and this one may have begun just now.
std::uint32_t SampleGroups::age_of(std::uint32_t epoch) const {
    return now_seconds_ > epoch ? now_seconds_ - epoch - 1 : 0;
}

void SampleGroups::add_blocks(const uf_block& block, std::uint64_t count) {
    Outstanding& outstanding = groups_[block.stack].by_age[age_bucket(age_of(block.epoch))];
    if (sample_bytes_ == 0) {
        outstanding.objects += static_cast<double>(count);
        outstanding.bytes += block.size * count;
    } else {
        const std::uint64_t bytes = block.points * sample_bytes_ * count;
        outstanding.bytes += bytes;
        // The points on a block are Poisson distributed: their number is its own variance's estimate.
        outstanding.variance += static_cast<double>(bytes) * static_cast<double>(sample_bytes_);
        outstanding.objects += static_cast<double>(bytes) / static_cast<double>(block.size ? block.size : 1);
    }
}

void SampleGroups::add_total(std::uint64_t stack, const uf_totals& totals) {
    if (totals.objects == 0) return;
    Group& group = groups_[stack];
    const auto objects = static_cast<double>(totals.objects) / (sample_bytes_ ? kObjectUnit : 1);
    group.objects += static_cast<std::uint64_t>(std::llround(objects));
    group.bytes += totals.bytes;
}

void SampleGroups::add_region(const Regions::Region& region, std::uint32_t blocks, std::uint64_t bytes) {
    Outstanding& outstanding = groups_[region.stack].by_age[age_bucket(age_of(region.epoch))];
    outstanding.objects += blocks;
    outstanding.bytes += bytes;
}

void SampleGroups::add_mapped(std::uint64_t stack, std::uint64_t objects, std::uint64_t bytes) {
    groups_[stack].objects += objects;
    groups_[stack].bytes += bytes;
}

// Only if the block was asked for inside of the call that gave the matrix its memory: the stack goes through
// where that call returns to. Else it was another one of the same size, some time later.
void SampleGroups::add_shape(std::uint64_t stack, const uf_shape& shape) {
    const auto group = groups_.find(stack);
    const CallPath* const path = paths_.find(stack);
    if (group == groups_.end() || path == nullptr || !paths_.goes_through(*path, shape.caller)) return;
    const std::size_t dimensions = std::min<std::size_t>(shape.dimensions, UF_BPF_DIMENSIONS);
    const std::vector<std::uint32_t> extents(shape.extents, shape.extents + dimensions);
    group->second.shape = mat_shape_text(shape.type, extents);
}

// A stack that is not known is the id of its process's image, or one whose event has not come yet.
CallPath SampleGroups::path_of(std::uint64_t stack) const {
    if (const CallPath* const path = paths_.find(stack)) return *path;
    CallPath unknown;
    if (const ProcessImage* const image = processes_.image(static_cast<std::uint32_t>(stack))) {
        if (!(stack >> 32)) unknown.process = image->index;
    }
    return unknown;
}

void SampleGroups::write(Snapshot& into) {
    std::array<std::uint64_t, UF_END_UNKNOWN_CODE + 1> ended{};
    std::uint64_t without_process = 0;
    std::unordered_map<std::string, std::uint32_t> shapes{{"", 0}};
    for (auto& [stack, group] : groups_) {
        const CallPath path = path_of(stack);
        if (path.process == kNone) {
            without_process += group.objects;
            continue;
        }
        ended[path.end] += group.objects;
        Sample sample;
        sample.stack = path.leaf;
        sample.process = path.process;
        sample.domain = functions_.domain_of(path.function);
        if (!group.shape.empty()) {
            const auto [known, is_new] =
                shapes.try_emplace(group.shape, static_cast<std::uint32_t>(into.shapes.size()));
            if (is_new) into.shapes.push_back(group.shape);
            sample.shape = known->second;
            sample.domain =
                Functions::kOpencvDomain;  // also where OpenCV was given another allocator (numpy's)
        }
        if (group.by_age.empty()) group.by_age[0] = {};
        bool oldest = true;
        for (auto at = group.by_age.rbegin(); at != group.by_age.rend(); ++at) {
            sample.age = at->first;
            sample.alloc_objects = oldest ? static_cast<std::int64_t>(group.objects) : 0;
            sample.alloc_bytes = oldest ? static_cast<std::int64_t>(group.bytes) : 0;
            sample.inuse_objects = std::llround(at->second.objects);
            sample.inuse_bytes = static_cast<std::int64_t>(at->second.bytes);
            sample.inuse_error = std::llround(std::sqrt(at->second.variance));
            into.samples.push_back(sample);
            oldest = false;
        }
    }
    for (std::size_t end = 0; end < ended.size(); ++end) {
        if (kEnds[end] != nullptr && ended[end] != 0) into.losses.push_back({kEnds[end], ended[end]});
    }
    if (without_process != 0) {
        into.losses.push_back({"allocations of processes that could not be told apart", without_process});
    }
}

}  // namespace unfreed::ebpf
