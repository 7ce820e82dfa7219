#include "userspace/rss/split.h"

#include <algorithm>

namespace unfreed::rss {
namespace {

// Bytes of [start, end) on pages that are there, from counts of pages before each.
double bytes_there(const std::vector<std::uint32_t>& before, std::uint64_t start, std::uint64_t end) {
    if (start >= end) return 0;
    const std::uint64_t first = start / kPageBytes, last = (end - 1) / kPageBytes;
    const auto there = [&](std::uint64_t page) { return before[page + 1] - before[page]; };
    if (first == last) return static_cast<double>((end - start) * there(first));
    const std::uint64_t whole = std::uint64_t{before[last] - before[first + 1]} * kPageBytes;
    return static_cast<double>(whole + ((first + 1) * kPageBytes - start) * there(first) +
                               (end - last * kPageBytes) * there(last));
}

std::uint64_t up_to(double wanted, std::uint64_t most) {
    return wanted < static_cast<double>(most) ? static_cast<std::uint64_t>(wanted) : most;
}

std::uint64_t share(std::uint64_t part, std::uint64_t all, std::uint64_t of) {
    return all == 0
               ? 0
               : up_to(static_cast<double>(of) * static_cast<double>(part) / static_cast<double>(all), of);
}

}  // namespace

Split::Split(const LiveProcess& process, std::vector<Claim> areas)
    : process_(process), areas_(std::move(areas)), pages_(areas_.size()) {}

const Claim* Split::area_of(std::uint64_t address) {
    const auto in = [&](const Claim& area) { return area.start <= address && address < area.end; };
    if (last_ < areas_.size() && in(areas_[last_])) return &areas_[last_];
    const std::size_t at = first_behind(address);
    if (at == areas_.size() || !in(areas_[at])) return nullptr;
    last_ = at;
    return &areas_[at];
}

std::size_t Split::first_behind(std::uint64_t address) const {
    const auto at = std::partition_point(areas_.begin(), areas_.end(),
                                         [&](const Claim& area) { return area.end <= address; });
    return static_cast<std::size_t>(at - areas_.begin());
}

const Split::Pages& Split::pages_of(std::size_t area) {
    Pages& pages = pages_[area];
    if (!pages.resident.empty()) return pages;
    const Claim& of = areas_[area];
    const std::vector<PageState> states = process_.pages(of.start, of.end);
    pages.resident.assign((of.end - of.start) / kPageBytes + 1, 0);
    pages.swapped = pages.resident;
    for (std::size_t i = 0; i < states.size(); ++i) {
        pages.resident[i + 1] = pages.resident[i] + (states[i] == PageState::kResident ? 1 : 0);
        pages.swapped[i + 1] = pages.swapped[i] + (states[i] == PageState::kSwapped ? 1 : 0);
    }
    return pages;
}

Split::Bytes Split::count(std::uint64_t start, std::uint64_t bytes) {
    const Claim* const area = area_of(start);
    if (area == nullptr) return {};
    const Pages& pages = pages_of(last_);
    const std::uint64_t first = start - area->start;
    const std::uint64_t end = first + std::min(bytes, area->end - start);
    return {bytes_there(pages.resident, first, end), bytes_there(pages.swapped, first, end)};
}

void Split::move(const Part& from, const Part& to, Bytes bytes) {
    moves_[{from, to}].add(bytes, 1);
}

void Split::apply(std::map<Part, Amount>& parts) const {
    for (const auto& [way, bytes] : moves_) {
        Amount& from = parts[way.first];
        const std::uint64_t resident = up_to(bytes.resident, from.rss);
        const std::uint64_t swapped = up_to(bytes.swapped, from.swap);
        const Amount moved{resident, share(resident, from.rss, from.pss), swapped,
                           share(swapped, from.swap, from.swap_pss)};
        from.rss -= moved.rss;
        from.pss -= moved.pss;
        from.swap -= moved.swap;
        from.swap_pss -= moved.swap_pss;
        parts[way.second] += moved;
    }
    std::erase_if(parts, [](const auto& part) { return part.second.rss == 0 && part.second.swap == 0; });
}

}  // namespace unfreed::rss
