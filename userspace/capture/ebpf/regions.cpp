#include "userspace/capture/ebpf/regions.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace unfreed::ebpf {
namespace {

constexpr std::uint64_t kPage = 4096;
std::uint64_t pages_end(std::uint64_t begin, std::uint64_t bytes) {
    return (begin + bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

void Regions::map(std::uint64_t begin, std::uint64_t bytes, bool reserved, std::uint64_t stack,
                  std::uint32_t epoch) {
    unmap(begin, bytes);
    if (bytes != 0)
        regions_[begin] = {pages_end(begin, bytes), begin + bytes, stack, ++last_block_, epoch, reserved};
}

Regions::Pieces Regions::unmap(std::uint64_t begin, std::uint64_t bytes) {
    Pieces gone;
    for (const auto at : cut_out(begin, pages_end(begin, bytes))) gone.insert(regions_.extract(at));
    return gone;
}

void Regions::take_off(std::uint64_t thread, std::uint64_t begin, std::uint64_t bytes) {
    moving_[thread] = unmap(begin, bytes);
}

std::optional<Regions::Pieces> Regions::moved(std::uint64_t thread) {
    auto taken = moving_.extract(thread);
    return taken ? std::optional(std::move(taken.mapped())) : std::nullopt;
}

void Regions::put_back(std::uint64_t thread) {
    if (auto taken = moved(thread)) regions_.merge(*taken);
}

std::vector<Regions::Opened> Regions::protect(std::uint64_t begin, std::uint64_t bytes, bool reserved,
                                              std::uint32_t epoch) {
    std::vector<Opened> opened;
    for (const auto at : cut_out(begin, pages_end(begin, bytes))) {
        Region& region = at->second;
        if (region.reserved == reserved) continue;
        region.reserved = reserved;
        region.epoch = epoch;
        if (reserved) continue;
        region.block = ++last_block_;
        opened.push_back({region.stack, bytes_of(*at)});
    }
    return opened;
}

// Splits what straddles the ends; gives the regions that lie within.
std::vector<Regions::Place> Regions::cut_out(std::uint64_t begin, std::uint64_t end) {
    std::vector<Place> within;
    if (begin >= end) return within;
    split(begin);
    split(end);
    for (auto at = regions_.lower_bound(begin); at != regions_.end() && at->first < end; ++at)
        within.push_back(at);
    return within;
}

void Regions::split(std::uint64_t address) {
    auto at = regions_.lower_bound(address);
    if (at == regions_.begin()) return;
    --at;
    if (at->second.end <= address) return;
    Region after = at->second;
    after.asked_end = std::max(after.asked_end, address);
    at->second.end = address;
    at->second.asked_end = std::min(at->second.asked_end, address);
    regions_[address] = after;
}

std::uint64_t Regions::bytes_of(const std::pair<const std::uint64_t, Region>& region) {
    return region.second.asked_end > region.first ? region.second.asked_end - region.first : 0;
}

void Regions::for_each(const Visit& visit) const {
    std::unordered_set<std::uint64_t> seen;
    const auto visit_all = [&](const Pieces& pieces) {
        for (const auto& [begin, region] : pieces) {
            if (!region.reserved)
                visit(begin, region, bytes_of({begin, region}), seen.insert(region.block).second ? 1 : 0);
        }
    };
    visit_all(regions_);
    for (const auto& [thread, pieces] : moving_) visit_all(pieces);
}

}  // namespace unfreed::ebpf
