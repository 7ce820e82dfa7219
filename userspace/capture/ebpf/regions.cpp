#include "userspace/capture/ebpf/regions.h"

#include <algorithm>
#include <iterator>

namespace unfreed::ebpf {
namespace {

constexpr std::uint64_t kPage = 4096;
std::uint64_t pages_end(std::uint64_t begin, std::uint64_t bytes) {
    return (begin + bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

void Regions::map(std::uint64_t begin, std::uint64_t bytes, bool counted, std::uint64_t stack,
                  std::uint32_t epoch) {
    unmap(begin, bytes);
    if (counted && bytes != 0) regions_[begin] = {pages_end(begin, bytes), begin + bytes, stack, epoch};
}

void Regions::unmap(std::uint64_t begin, std::uint64_t bytes) {
    const std::uint64_t end = pages_end(begin, bytes);
    auto at = regions_.upper_bound(begin);
    if (at != regions_.begin() && std::prev(at)->second.end > begin) --at;
    while (at != regions_.end() && at->first < end) {
        const std::uint64_t first = at->first;
        const Region region = at->second;
        at = regions_.erase(at);
        if (first < begin) {
            Region before = region;
            before.end = begin;
            before.asked_end = std::min(region.asked_end, begin);
            regions_[first] = before;
        }
        if (region.end > end) {
            regions_[end] = region;
            break;
        }
    }
}

void Regions::for_each(const std::function<void(const Region&, std::uint64_t)>& visit) const {
    for (const auto& [begin, region] : regions_)
        visit(region, region.asked_end > begin ? region.asked_end - begin : 0);
}

}  // namespace unfreed::ebpf
