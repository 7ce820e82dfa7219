// The reader of a pprof file, in two halves: the messages as they come (pprof_read.cpp), then every reference
// between them checked and put in place (pprof_resolve.cpp).
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "userspace/report/path_tree.h"
#include "userspace/report/pprof_stream.h"
#include "userspace/report/profile.h"

namespace unfreed::pprof {

// A file's ids (any numbers) as indices, in the order of their first mention.
class IdMap {
  public:
    std::uint32_t operator()(std::uint64_t id) {
        if (id < kDense) {
            if (id >= dense_.size()) {
                dense_.resize(std::max<std::size_t>(id + 1, std::min(dense_.size() * 2, kDense)), 0);
            }
            std::uint32_t& index = dense_[id];
            return index != 0 ? index - 1 : (index = ++size_) - 1;
        }
        const auto [entry, is_new] = sparse_.emplace(id, size_);
        size_ += is_new ? 1 : 0;
        return entry->second;
    }
    std::size_t size() const { return size_; }

  private:
    static constexpr std::size_t kDense = 1 << 20;
    std::vector<std::uint32_t> dense_;  // index + 1
    std::unordered_map<std::uint64_t, std::uint32_t> sparse_;
    std::uint32_t size_ = 0;
};

struct RawLabel {
    std::uint64_t key = 0;
    std::uint64_t text = 0;
    std::int64_t number = 0;
};

struct RawFunction {
    std::uint64_t name = 0;
    std::uint64_t system_name = 0;
    std::uint64_t file = 0;
    std::int64_t start_line = 0;
    bool defined = false;
};

class PprofReader {
  public:
    explicit PprofReader(FieldStream& stream) : stream_(stream), tree_(profile_.nodes) {}

    Profile read() {
        while (const auto field = stream_.next()) {
            take(*field);
        }
        resolve();
        return std::move(profile_);
    }

  private:
    void take(const FieldStream::Field& field);
    void take_sample_type(protozero::data_view message);
    void take_sample(protozero::data_view message);
    void take_mapping(protozero::data_view message);
    void take_location(protozero::data_view message);
    void take_function(protozero::data_view message);
    std::uint32_t label_set(const std::string& labels);
    std::uint32_t path_node();

    void resolve();
    void resolve_functions();
    void resolve_locations();
    void resolve_samples();
    StringIndex string(std::uint64_t index) const {
        if (index >= strings_.size()) {
            stream_.corrupt("a string that is not there is referred to");
        }
        return strings_[index];
    }

    FieldStream& stream_;
    Profile profile_;
    PathTree tree_;

    std::vector<StringIndex> strings_;  // by the file's index
    std::vector<std::uint64_t> sample_types_;
    std::vector<std::uint64_t> comments_;
    IdMap location_ids_;
    IdMap mapping_ids_;
    IdMap function_ids_;
    std::vector<bool> location_defined_;
    std::vector<bool> mapping_defined_;
    std::vector<RawFunction> functions_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> mapping_strings_;  // file, build-id

    // Samples, flat: leaf and label set of each, and as many values as there are sample types.
    std::vector<std::uint32_t> leaves_;
    std::vector<std::uint32_t> label_sets_of_;
    std::vector<std::int64_t> values_;
    std::size_t values_per_sample_ = 0;
    std::unordered_map<std::string, std::uint32_t> label_set_ids_;
    std::vector<std::vector<RawLabel>> label_sets_;

    // The path of the sample before, outermost first: what the next one shares with it is not looked up
    // again.
    std::vector<std::uint32_t> path_;  // the sample's, innermost first
    std::vector<std::uint32_t> last_locations_;
    std::vector<std::uint32_t> last_nodes_;
};

}  // namespace unfreed::pprof
