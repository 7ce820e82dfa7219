// pprof file -> Profile. Fields may come in any order and refer to what comes later, so the pass over the
// file keeps ids and string indices as they are, call paths already as a tree; resolve() checks every one of
// them and puts indices in their place.
#include "userspace/report/pprof_read.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <protozero/exception.hpp>
#include <protozero/pbf_message.hpp>
#include <protozero/pbf_writer.hpp>
#include <protozero/varint.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "userspace/error.h"
#include "userspace/report/comments.h"
#include "userspace/report/namer.h"
#include "userspace/report/path_tree.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/pprof_stream.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

using namespace pprof;
using protozero::data_view;
using protozero::pbf_message;
using protozero::pbf_wire_type;
using protozero::tag_and_type;

constexpr auto kVarint = pbf_wire_type::varint;
constexpr auto kBytes = pbf_wire_type::length_delimited;
template <typename Field>
constexpr std::uint32_t number(Field field) {
    return tag_and_type(field, kVarint);
}
template <typename Field>
constexpr std::uint32_t bytes(Field field) {
    return tag_and_type(field, kBytes);
}

constexpr std::int64_t kLargestValue = std::int64_t{1} << 60;

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
    void take_sample_type(data_view message);
    void take_sample(data_view message);
    void take_mapping(data_view message);
    void take_location(data_view message);
    void take_function(data_view message);
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

// What a message says of a repeated number: packed into one field, or one field each.
template <typename Message, typename Take>
void take_numbers(Message& message, pbf_wire_type type, const Take& take) {
    if (type == kVarint) {
        take(message.get_uint64());
        return;
    }
    for (const std::uint64_t value : message.get_packed_uint64()) {
        take(value);
    }
}

void PprofReader::take(const FieldStream::Field& field) {
    if (field.type == kVarint) {
        switch (static_cast<ProfileField>(field.tag)) {
            case ProfileField::kTimeNanos:
                profile_.time_nanos = static_cast<std::int64_t>(field.number);
                break;
            case ProfileField::kDurationNanos:
                profile_.duration_nanos = static_cast<std::int64_t>(field.number);
                break;
            case ProfileField::kPeriod:
                profile_.sample_bytes = field.number;
                break;
            case ProfileField::kComment:
                comments_.push_back(field.number);
                break;
            default:
                break;
        }
        return;
    }
    if (field.type != kBytes) {
        return;
    }
    switch (static_cast<ProfileField>(field.tag)) {
        case ProfileField::kSampleType:
            take_sample_type(field.bytes);
            break;
        case ProfileField::kSample:
            take_sample(field.bytes);
            break;
        case ProfileField::kMapping:
            take_mapping(field.bytes);
            break;
        case ProfileField::kLocation:
            take_location(field.bytes);
            break;
        case ProfileField::kFunction:
            take_function(field.bytes);
            break;
        case ProfileField::kStringTable:
            strings_.push_back(profile_.strings.intern({field.bytes.data(), field.bytes.size()}));
            break;
        case ProfileField::kComment: {
            const char* at = field.bytes.data();
            const char* const end = at + field.bytes.size();
            while (at != end) {
                comments_.push_back(protozero::decode_varint(&at, end));
            }
            break;
        }
        default:
            break;
    }
}

void PprofReader::take_sample_type(data_view bytes_of_message) {
    pbf_message<ValueTypeField> message(bytes_of_message);
    std::uint64_t type = 0;
    while (message.next()) {
        if (message.tag_and_type() == number(ValueTypeField::kType)) {
            type = message.get_uint64();
        } else {
            message.skip();
        }
    }
    sample_types_.push_back(type);
    stream_.recognized();
}

// The node of path_, which is innermost first and may be empty.
std::uint32_t PprofReader::path_node() {
    const std::size_t size = path_.size();
    std::size_t shared = 0;
    while (shared < size && shared < last_locations_.size() &&
           last_locations_[shared] == path_[size - 1 - shared]) {
        ++shared;
    }
    last_locations_.resize(shared);
    last_nodes_.resize(shared);
    for (std::size_t i = shared; i < size; ++i) {
        const std::uint32_t location = path_[size - 1 - i];
        last_nodes_.push_back(tree_.child(i == 0 ? 0 : last_nodes_.back(), location));
        last_locations_.push_back(location);
    }
    return size == 0 ? 0 : last_nodes_.back();
}

std::uint32_t PprofReader::label_set(const std::string& labels) {
    const auto next = static_cast<std::uint32_t>(label_sets_.size());
    const auto [entry, is_new] = label_set_ids_.emplace(labels, next);
    if (!is_new) {
        return entry->second;
    }
    std::vector<RawLabel>& set = label_sets_.emplace_back();
    pbf_message<SampleField> list(labels);
    while (list.next()) {
        RawLabel& label = set.emplace_back();
        pbf_message<LabelField> message = list.get_message();
        while (message.next()) {
            switch (message.tag_and_type()) {
                case number(LabelField::kKey):
                    label.key = message.get_uint64();
                    break;
                case number(LabelField::kStr):
                    label.text = message.get_uint64();
                    break;
                case number(LabelField::kNum):
                    label.number = message.get_int64();
                    break;
                default:
                    message.skip();
            }
        }
    }
    return next;
}

void PprofReader::take_sample(data_view bytes_of_message) {
    pbf_message<SampleField> message(bytes_of_message);
    path_.clear();
    std::string labels;  // the label fields, as they are
    const std::size_t values_before = values_.size();
    while (message.next()) {
        switch (message.tag_and_type()) {
            case number(SampleField::kLocationId):
            case bytes(SampleField::kLocationId):
                take_numbers(message, message.wire_type(),
                             [&](std::uint64_t id) { path_.push_back(location_ids_(id)); });
                break;
            case number(SampleField::kValue):
            case bytes(SampleField::kValue):
                take_numbers(message, message.wire_type(), [&](std::uint64_t value) {
                    values_.push_back(static_cast<std::int64_t>(value));
                });
                break;
            case bytes(SampleField::kLabel): {
                const data_view label = message.get_view();
                protozero::pbf_writer(labels).add_message(static_cast<std::uint32_t>(SampleField::kLabel),
                                                          label.data(), label.size());
                break;
            }
            default:
                message.skip();
        }
    }
    const std::size_t values = values_.size() - values_before;
    values_per_sample_ = leaves_.empty() ? values : values_per_sample_;
    if (values == 0 || values != values_per_sample_) {
        stream_.corrupt("a sample lacks values");
    }
    leaves_.push_back(path_node());
    label_sets_of_.push_back(label_set(labels));
}

void PprofReader::take_mapping(data_view bytes_of_message) {
    pbf_message<MappingField> message(bytes_of_message);
    Profile::Mapping mapping;
    std::pair<std::uint64_t, std::uint64_t> strings;
    std::uint64_t id = 0;
    while (message.next()) {
        switch (message.tag_and_type()) {
            case number(MappingField::kId):
                id = message.get_uint64();
                break;
            case number(MappingField::kMemoryStart):
                mapping.start = message.get_uint64();
                break;
            case number(MappingField::kMemoryLimit):
                mapping.limit = message.get_uint64();
                break;
            case number(MappingField::kFileOffset):
                mapping.offset = message.get_uint64();
                break;
            case number(MappingField::kFilename):
                strings.first = message.get_uint64();
                break;
            case number(MappingField::kBuildId):
                strings.second = message.get_uint64();
                break;
            case number(MappingField::kHasFunctions):
                mapping.has_functions = message.get_uint64() != 0;
                break;
            case number(MappingField::kHasFilenames):
                mapping.has_files = message.get_uint64() != 0;
                break;
            case number(MappingField::kHasLineNumbers):
                mapping.has_lines = message.get_uint64() != 0;
                break;
            case number(MappingField::kHasInlineFrames):
                mapping.has_inlines = message.get_uint64() != 0;
                break;
            default:
                message.skip();
        }
    }
    const std::uint32_t index = mapping_ids_(id);
    if (mapping_ids_.size() > profile_.mappings.size()) {
        profile_.mappings.resize(mapping_ids_.size());
        mapping_strings_.resize(mapping_ids_.size());
        mapping_defined_.resize(mapping_ids_.size());
    }
    if (id == 0 || mapping_defined_[index]) {
        stream_.corrupt("a mapping has no number of its own");
    }
    mapping_defined_[index] = true;
    profile_.mappings[index] = mapping;
    mapping_strings_[index] = strings;
}

void PprofReader::take_location(data_view bytes_of_message) {
    pbf_message<LocationField> message(bytes_of_message);
    Profile::Location location;
    location.first_line = static_cast<std::uint32_t>(profile_.lines.size());
    std::uint64_t id = 0;
    while (message.next()) {
        switch (message.tag_and_type()) {
            case number(LocationField::kId):
                id = message.get_uint64();
                break;
            case number(LocationField::kMappingId):
                if (const std::uint64_t mapping = message.get_uint64(); mapping != 0) {
                    location.mapping = mapping_ids_(mapping);
                }
                break;
            case number(LocationField::kAddress):
                location.address = message.get_uint64();
                break;
            case bytes(LocationField::kLine): {
                pbf_message<LineField> line_message(message.get_message());
                std::uint64_t function = 0;
                Profile::Line line;
                while (line_message.next()) {
                    switch (line_message.tag_and_type()) {
                        case number(LineField::kFunctionId):
                            function = line_message.get_uint64();
                            break;
                        case number(LineField::kLine):
                            line.line = line_message.get_int64();
                            break;
                        default:
                            line_message.skip();
                    }
                }
                line.function = function_ids_(function);
                profile_.lines.push_back(line);
                ++location.line_count;
                break;
            }
            default:
                message.skip();
        }
    }
    const std::uint32_t index = location_ids_(id);
    if (location_ids_.size() > profile_.locations.size()) {
        profile_.locations.resize(location_ids_.size());
        location_defined_.resize(location_ids_.size());
    }
    if (id == 0 || location_defined_[index]) {
        stream_.corrupt("a location has no number of its own");
    }
    location_defined_[index] = true;
    profile_.locations[index] = location;
}

void PprofReader::take_function(data_view bytes_of_message) {
    pbf_message<FunctionField> message(bytes_of_message);
    RawFunction function;
    std::uint64_t id = 0;
    while (message.next()) {
        switch (message.tag_and_type()) {
            case number(FunctionField::kId):
                id = message.get_uint64();
                break;
            case number(FunctionField::kName):
                function.name = message.get_uint64();
                break;
            case number(FunctionField::kSystemName):
                function.system_name = message.get_uint64();
                break;
            case number(FunctionField::kFilename):
                function.file = message.get_uint64();
                break;
            case number(FunctionField::kStartLine):
                function.start_line = message.get_int64();
                break;
            default:
                message.skip();
        }
    }
    const std::uint32_t index = function_ids_(id);
    if (function_ids_.size() > functions_.size()) {
        functions_.resize(function_ids_.size());
    }
    if (id == 0 || functions_[index].defined) {
        stream_.corrupt("a function has no number of its own");
    }
    functions_[index] = function;
    functions_[index].defined = true;
}

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
            } else if (key == kLabelAge && label.number >= 0) {
                sample.age = label.number;
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
        profile_.samples.push_back(sample);
    }
}

}  // namespace

Profile read_pprof(int descriptor, const std::string& name) {
    FieldStream stream(descriptor, name);
    try {
        return PprofReader(stream).read();
    } catch (const protozero::exception& e) {
        stream.corrupt(e.what());
    }
}

Profile read_pprof(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        throw Error(path, std::string("cannot be read: ") + std::strerror(errno),
                    "give the file of a profile");
    }
    return read_pprof(descriptor, path);
}

}  // namespace unfreed
