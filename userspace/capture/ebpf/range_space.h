// Hands out stretches of the kernel's array of code ranges. One that is given back rests for a while before
// it is handed out again, since a walk may just be standing on it.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "bpf/contract/capture.h"

namespace unfreed::ebpf {

class RangeSpace {
  public:
    struct Window {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
    };

    // Nothing: the array is full.
    std::optional<Window> take(std::uint32_t count) {
        for (auto at = free_.begin(); at != free_.end(); ++at) {
            if (at->second < count) continue;
            const Window window{at->first, count};
            const std::uint32_t left = at->second - count;
            free_.erase(at);
            if (left != 0) free_[window.first + count] = left;
            return window;
        }
        return std::nullopt;
    }

    void give_back(Window window) {
        if (window.count != 0) resting_.push_back({std::chrono::steady_clock::now(), window});
    }

    void tick() {
        const auto rested = std::chrono::steady_clock::now() - std::chrono::seconds(2);
        while (!resting_.empty() && resting_.front().since < rested) {
            add(resting_.front().window);
            resting_.pop_front();
        }
    }

  private:
    struct Resting {
        std::chrono::steady_clock::time_point since;
        Window window;
    };
    void add(Window window) {
        auto at = free_.emplace(window.first, window.count).first;
        const auto next = std::next(at);
        if (next != free_.end() && at->first + at->second == next->first) {
            at->second += next->second;
            free_.erase(next);
        }
        if (at != free_.begin()) {
            const auto before = std::prev(at);
            if (before->first + before->second == at->first) {
                before->second += at->second;
                free_.erase(at);
            }
        }
    }

    std::map<std::uint32_t, std::uint32_t> free_{{0, UF_BPF_RANGES}};  // first -> count, never adjacent
    std::deque<Resting> resting_;
};

}  // namespace unfreed::ebpf
