#include "userspace/capture/ebpf/block_sites.h"

#include <algorithm>
#include <set>
#include <utility>

#include "userspace/capture/ebpf/decoder.h"
#include "userspace/capture/ebpf/flow_graph.h"

namespace unfreed::ebpf {
namespace {

using Graph = std::vector<Instruction>;

// Code that was made to take for ever is given up: any allocator's functions are far below.
constexpr std::size_t kMostInstructions = 1024, kMostSites = 64, kMostTurns = 64, kMostWays = 1 << 16;

// What will be returned lies in a Location, or:
constexpr Location kAnything = -2;  // nothing: the function does not return from here
constexpr Location kNull = -3;      // null will be returned
constexpr Location kUnborn = -4;    // it is not there yet, or is in several places

Location meet(Location a, Location b) {
    if (a == kAnything) return b;
    if (b == kAnything || a == b) return a;
    return kUnborn;
}

bool is_register(Location location) {
    return location >= 0 && location < 16;
}

bool writes(const Instruction& at, Location location) {
    if (is_register(location)) return at.writes >> location & 1;
    return at.to == location;
}

// Bits of the registers that hold each of these.
struct Known {
    std::uint16_t first = 0xffff;
    std::uint16_t second = 0xffff;
    std::uint16_t product = 0xffff;
    std::uint16_t rbp = 0xffff;  // what it was at the entry
    bool operator==(const Known&) const = default;
};

std::uint16_t moved(std::uint16_t before, const Instruction& at) {
    auto after = static_cast<std::uint16_t>(before & ~at.writes);
    if (is_register(at.from) && is_register(at.to) && (before >> at.from & 1))
        after |= static_cast<std::uint16_t>(1u << at.to);
    return after;
}

Known known_after(const Known& before, const Instruction& at) {
    Known after{moved(before.first, at), moved(before.second, at), moved(before.product, at),
                moved(before.rbp, at)};
    const auto holds = [](std::uint16_t registers, std::int32_t number) { return registers >> number & 1; };
    if (at.factor >= 0 && ((holds(before.first, kRax) && holds(before.second, at.factor)) ||
                           (holds(before.second, kRax) && holds(before.first, at.factor)))) {
        after.product |= 1u << kRax;
    }
    return after;
}

class Analysis {
  public:
    Analysis(const Graph& graph, SizeOf size, const std::function<bool(std::uint64_t)>& returns_first)
        : graph_(graph), size_(size), returns_first_(returns_first) {
        find_results();
        find_arguments();
    }

    std::optional<BlockSites> sites() {
        std::vector<bool> allowed(graph_.size());
        for (std::size_t i = 0; i < graph_.size(); ++i) {
            allowed[i] = graph_[i].emulated && result_[i] == static_cast<Location>(kRax);
        }
        // A site that others are passed after is given up for these.
        for (std::size_t turn = 0; turn < kMostTurns; ++turn) {
            const auto chosen = first_on_every_way(allowed);
            if (!chosen || chosen->size() > kMostSites) break;
            const auto early = std::find_if(chosen->begin(), chosen->end(), [&](std::size_t site) {
                const std::vector<bool> later = passed_after(site);
                return std::any_of(chosen->begin(), chosen->end(), [&](std::size_t at) { return later[at]; });
            });
            if (early == chosen->end()) return describe(*chosen);
            allowed[*early] = false;
        }
        return std::nullopt;
    }

  private:
    static std::size_t index(std::int32_t value) { return static_cast<std::size_t>(value); }

    // Where the way on from a test leads if the register is not zero, and if it is.
    std::int32_t if_block(const Instruction& at) const { return at.taken_if_zero ? at.next : at.taken; }
    std::int32_t if_null(const Instruction& at) const { return at.taken_if_zero ? at.taken : at.next; }

    // Before each instruction: where what will be returned is. Backwards, until nothing changes.
    void find_results() {
        result_.assign(graph_.size(), kAnything);
        for (bool changed = true; changed;) {
            changed = false;
            for (std::size_t i = graph_.size(); i-- > 0;) {
                const Location before = result_before(i);
                changed = changed || before != result_[i];
                result_[i] = before;
            }
        }
    }
    Location result_at(std::int32_t at) const { return at < 0 ? kAnything : result_[index(at)]; }
    Location result_before(std::size_t i) const {
        const Instruction& at = graph_[i];
        if (at.returns) return static_cast<Location>(kRax);
        Location after = meet(result_at(at.next), result_at(at.taken));
        if (at.leaves) {
            const bool hands_back = at.next < 0 && returns_first_(at.target);
            after = hands_back ? static_cast<Location>(kRdi) : kUnborn;
        }
        if (at.tested >= 0 && result_at(if_block(at)) == at.tested) after = at.tested;
        if (after < 0 || !writes(at, after)) return after;
        if (at.to == after && at.from != kNowhere) return at.from;
        return at.zeroed == after ? kNull : kUnborn;
    }

    // Before each instruction: which registers hold the arguments on every way there.
    void find_arguments() {
        known_.assign(graph_.size(), {});
        known_[0] = {1u << kRdi, 1u << kRsi, 0, 1u << kRbp};
        for (bool changed = true; changed;) {
            changed = false;
            for (std::size_t i = 0; i < graph_.size(); ++i) {
                const Known after = known_after(known_[i], graph_[i]);
                for (const std::int32_t next : {graph_[i].next, graph_[i].taken}) {
                    if (next < 0) continue;
                    Known& there = known_[index(next)];
                    const Known met{static_cast<std::uint16_t>(there.first & after.first),
                                    static_cast<std::uint16_t>(there.second & after.second),
                                    static_cast<std::uint16_t>(there.product & after.product),
                                    static_cast<std::uint16_t>(there.rbp & after.rbp)};
                    changed = changed || met != there;
                    there = met;
                }
            }
        }
    }

    // The registers that are null after the instruction, of those that are before it.
    static std::uint16_t null_after(std::uint16_t null, const Instruction& at) {
        auto after = moved(null, at);
        if (at.zeroed != kNowhere) after |= static_cast<std::uint16_t>(1u << at.zeroed);
        return after;
    }

    // The first allowed instruction on each way from the entry to a return of a block; nothing: on some way
    // there is none.
    std::optional<std::vector<std::size_t>> first_on_every_way(const std::vector<bool>& allowed) const {
        std::vector<std::size_t> chosen;
        std::set<std::pair<std::int32_t, std::uint16_t>> seen;
        std::vector<std::pair<std::int32_t, std::uint16_t>> open{{0, 0}};  // and: registers known to be null
        while (!open.empty()) {
            const auto way = open.back();
            const auto [at_index, null] = way;
            open.pop_back();
            if (at_index < 0 || !seen.insert(way).second) continue;
            if (seen.size() > kMostWays) return std::nullopt;
            const Instruction& at = graph_[index(at_index)];
            const bool block_is_null = null >> kRax & 1;
            const auto tested = static_cast<std::uint16_t>(at.tested < 0 ? 0 : 1u << at.tested);
            if (!block_is_null && allowed[index(at_index)]) {
                chosen.push_back(index(at_index));
                if (at.tested == static_cast<std::int32_t>(kRax))
                    open.emplace_back(if_null(at), null | tested);
                continue;
            }
            if (at.leaves || (at.returns && !block_is_null)) return std::nullopt;
            if (tested != 0) {
                open.emplace_back(if_null(at), null | tested);
                if (!(null & tested)) open.emplace_back(if_block(at), null);
                continue;
            }
            open.emplace_back(at.next, null_after(null, at));
            open.emplace_back(at.taken, null_after(null, at));
        }
        std::sort(chosen.begin(), chosen.end());
        chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
        return chosen;
    }

    // What a call passes after `site`, when it returns a block.
    std::vector<bool> passed_after(std::size_t site) const {
        std::vector<bool> passed(graph_.size());
        std::vector<std::int32_t> open;
        const auto go_on = [&](std::size_t from) {
            const Instruction& at = graph_[from];
            const bool only_block = at.tested >= 0 && result_[from] == at.tested;
            open.push_back(only_block ? if_block(at) : at.next);
            if (!only_block) open.push_back(at.taken);
        };
        go_on(site);
        while (!open.empty()) {
            const std::int32_t at = open.back();
            open.pop_back();
            if (at < 0 || passed[index(at)]) continue;
            passed[index(at)] = true;
            go_on(index(at));
        }
        return passed;
    }

    std::optional<BlockSites> describe(const std::vector<std::size_t>& chosen) const {
        BlockSites sites;
        std::set<std::size_t> told;
        for (const std::size_t site : chosen) {
            const auto place = place_at(site);
            const auto size = size_at(site);
            const auto nearest = size ? std::nullopt : nearest_with_size(site);
            if (!place || (!size && !nearest)) return std::nullopt;
            sites.blocks.push_back({*place, size});
            if (nearest) told.insert(*nearest);
        }
        for (const std::size_t site : told) {
            const auto place = place_at(site);
            if (!place) return std::nullopt;
            sites.sizes.push_back({*place, *size_at(site)});
        }
        if (sites.blocks.empty()) return std::nullopt;
        return sites;
    }

    std::optional<Place> place_at(std::size_t at) const {
        const auto place = [&](std::int64_t rbp) {
            return Place{graph_[at].offset, static_cast<std::uint32_t>(graph_[at].depth),
                         static_cast<std::uint32_t>(rbp)};
        };
        constexpr std::int64_t kDeepest = 4096;
        if (graph_[at].depth < 0 || graph_[at].depth > kDeepest) return std::nullopt;
        if (known_[at].rbp >> kRbp & 1) return place(0);
        for (std::size_t i = 0; i < graph_.size(); ++i) {
            if (graph_[i].pushes_rbp && (known_[i].rbp >> kRbp & 1) && is_on_every_way(i, at))
                return place(graph_[i].depth / 8 + 2);
        }
        return std::nullopt;
    }

    std::optional<unsigned> size_at(std::size_t at) const {
        for (unsigned reg = 0; reg < 16; ++reg) {
            if ((size_ == SizeOf::kFirst ? known_[at].first : known_[at].product) >> reg & 1) return reg;
        }
        return std::nullopt;
    }

    // The last instruction that every way to `site` passes, that a probe is cheap on, and where the size
    // still is somewhere.
    std::optional<std::size_t> nearest_with_size(std::size_t site) const {
        std::optional<std::size_t> nearest;
        for (std::size_t at = 0; at < graph_.size(); ++at) {
            if (!graph_[at].emulated || !size_at(at) || !is_on_every_way(at, site)) continue;
            if (!nearest || is_on_every_way(*nearest, at)) nearest = at;
        }
        return nearest;
    }
    bool is_on_every_way(std::size_t at, std::size_t to) const {
        if (at == to) return false;
        std::vector<bool> seen(graph_.size());
        std::vector<std::int32_t> open{0};
        while (!open.empty()) {
            const std::int32_t now = open.back();
            open.pop_back();
            if (now < 0 || index(now) == at || seen[index(now)]) continue;
            seen[index(now)] = true;
            open.push_back(graph_[index(now)].next);
            open.push_back(graph_[index(now)].taken);
        }
        return !seen[to];
    }

    const Graph& graph_;
    const SizeOf size_;
    const std::function<bool(std::uint64_t)>& returns_first_;
    std::vector<Location> result_;
    std::vector<Known> known_;
};

}  // namespace

std::optional<BlockSites> find_block_sites(std::span<const std::byte> code, SizeOf size,
                                           const std::function<bool(std::uint64_t offset)>& returns_first) {
    const auto graph = flow_graph(code);
    if (!graph || graph->empty() || graph->size() > kMostInstructions) return std::nullopt;
    return Analysis(*graph, size, returns_first).sites();
}

}  // namespace unfreed::ebpf
