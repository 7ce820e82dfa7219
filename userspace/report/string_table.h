// Strings, each held once and named by an index; index 0 is the empty string (as profile.proto has it).
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace unfreed {

using StringIndex = std::uint32_t;

class StringTable {
  public:
    StringTable() { intern({}); }
    StringTable(StringTable&&) = default;  // a deque's elements stay where they are
    StringTable& operator=(StringTable&&) = default;
    StringTable(const StringTable&) = delete;  // the index points into `strings_`
    StringTable& operator=(const StringTable&) = delete;

    StringIndex intern(std::string_view text) {
        if (const auto known = index_.find(text); known != index_.end()) {
            return known->second;
        }
        const auto index = static_cast<StringIndex>(strings_.size());
        strings_.emplace_back(text);
        index_.emplace(strings_.back(), index);
        return index;
    }
    // The index of `text`, or nothing when it is not in the table.
    std::optional<StringIndex> find(std::string_view text) const {
        const auto known = index_.find(text);
        return known == index_.end() ? std::nullopt : std::optional(known->second);
    }
    const std::string& operator[](StringIndex index) const { return strings_[index]; }
    std::size_t size() const { return strings_.size(); }

  private:
    std::deque<std::string> strings_;
    std::unordered_map<std::string_view, StringIndex> index_;
};

}  // namespace unfreed
