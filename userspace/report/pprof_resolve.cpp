// The second half of reading a pprof file: every id and string index is checked, and an index put in its
// place.
#include <algorithm>
#include <array>

#include "userspace/report/comments.h"
#include "userspace/report/namer.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/pprof_reader.h"

namespace unfreed::pprof {
namespace {

constexpr std::int64_t kLargestValue = std::int64_t{1} << 60;

}  // namespace

void PprofReader::resolve() {
    if (sample_types_.empty()) {
        stream_.foreign("it has no sample types");
    }
    if (strings_.empty() || strings_[0] != 0) {
        stream_.corrupt("its first string is not the empty one");
    }
    resolve_functions();
    resolve_locations();
    resolve_samples();
    for (const std::uint64_t comment : comments_) {
        read_comment(profile_.strings[string(comment)], profile_);
    }
}

void PprofReader::resolve_functions() {
    if (functions_.size() != function_ids_.size()) {
        stream_.corrupt("a function that is not there is referred to");
    }
    const StringIndex no_name = profile_.strings.intern("?");
    profile_.functions.reserve(functions_.size());
    for (const RawFunction& raw : functions_) {
        if (!raw.defined) {
            stream_.corrupt("a function that is not there is referred to");
        }
        Profile::Function function{string(raw.name), string(raw.system_name), string(raw.file),
                                   raw.start_line};
        function.name = function.name != 0 ? function.name : function.system_name;
        function.name = function.name != 0 ? function.name : no_name;
        profile_.functions.push_back(function);
    }
}

void PprofReader::resolve_locations() {
    const auto all = [](const std::vector<bool>& defined, const IdMap& ids) {
        return defined.size() == ids.size() &&
               std::find(defined.begin(), defined.end(), false) == defined.end();
    };
    if (!all(location_defined_, location_ids_)) {
        stream_.corrupt("a location that is not there is referred to");
    }
    if (!all(mapping_defined_, mapping_ids_)) {
        stream_.corrupt("a mapping that is not there is referred to");
    }
    for (std::size_t i = 0; i < profile_.mappings.size(); ++i) {
        profile_.mappings[i].file = string(mapping_strings_[i].first);
        profile_.mappings[i].build_id = string(mapping_strings_[i].second);
    }
    Namer namer(profile_);
    for (Profile::Location& location : profile_.locations) {
        if (location.line_count == 0) {
            std::string name = "[unknown]";
            if (location.mapping != Profile::kNoMapping) {
                const Profile::Mapping& mapping = profile_.mappings[location.mapping];
                name = nameless(profile_.strings[mapping.file],
                                location.address - mapping.start + mapping.offset, "no symbols");
            }
            location.first_line = namer.add_line(name);
            location.line_count = 1;
        }
    }
    if (std::find(leaves_.begin(), leaves_.end(), 0) != leaves_.end()) {
        const std::uint32_t no_path = tree_.child(0, namer.add_name("[call path not recorded]"));
        std::replace(leaves_.begin(), leaves_.end(), 0u, no_path);
    }
}

void PprofReader::resolve_samples() {
    // Which of the file's values is which of ours.
    std::array<std::size_t, kValues> position;
    position.fill(SIZE_MAX);
    std::string types;
    for (std::size_t i = 0; i < sample_types_.size(); ++i) {
        const std::string& type = profile_.strings[string(sample_types_[i])];
        types += (types.empty() ? "" : ", ") + type;
        for (std::size_t v = 0; v < kValues; ++v) {
            // Heap profiles that only know what is in use say "objects" and "space".
            if (type == kSampleTypes[v][0] || "inuse_" + type == kSampleTypes[v][0]) {
                position[v] = i;
            }
        }
    }
    if (std::all_of(position.begin(), position.end(), [](std::size_t at) { return at == SIZE_MAX; })) {
        stream_.foreign("its values are " + types);
    }
    if (!leaves_.empty() && values_per_sample_ != sample_types_.size()) {
        stream_.corrupt("samples do not have a value for each type");
    }

    std::vector<Profile::Sample> by_labels;
    for (const std::vector<RawLabel>& labels : label_sets_) {
        Profile::Sample& sample = by_labels.emplace_back();
        for (const RawLabel& label : labels) {
            const std::string& key = profile_.strings[string(label.key)];
            const StringIndex text = string(label.text);
            if (key == kLabelPid && label.number >= 0 && label.number <= INT32_MAX) {
                sample.pid = static_cast<std::uint32_t>(label.number);
            } else if (key == kLabelProcess) {
                sample.process = text;
            } else if (key == kLabelDomain) {
                sample.domain = text;
            } else if (key == kLabelShape) {
                sample.shape = text;
            } else if (key == kLabelBase) {
                sample.of_base = profile_.strings[text] == "true";
            } else if (key == kLabelAge && label.number >= 0) {
                sample.age = label.number;
            } else if (key == kLabelError && label.number >= 0) {
                sample.error = label.number;
            }
        }
    }
    for (const std::int64_t value : values_) {
        if (value > kLargestValue || value < -kLargestValue) {
            stream_.corrupt("a value is out of all measure");
        }
    }
    profile_.samples.reserve(leaves_.size());
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
        Profile::Sample sample = by_labels[label_sets_of_[i]];
        sample.leaf = leaves_[i];
        for (std::size_t v = 0; v < kValues; ++v) {
            sample.values[v] = position[v] == SIZE_MAX ? 0 : values_[i * values_per_sample_ + position[v]];
        }
        profile_.difference = profile_.difference || sample.of_base;
        profile_.samples.push_back(sample);
    }
}

}  // namespace unfreed::pprof
