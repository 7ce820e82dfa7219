// pprof file -> Profile. Fields may come in any order and refer to what comes later, so the pass over the
// file keeps ids and string indices as they are, call paths already as a tree; resolve() checks every one of
// them and puts indices in their place.
#include "userspace/report/pprof_read.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <protozero/exception.hpp>
#include <protozero/pbf_message.hpp>
#include <protozero/pbf_writer.hpp>
#include <protozero/varint.hpp>

#include "userspace/error.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/pprof_reader.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace pprof {
namespace {

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

}  // namespace

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

}  // namespace pprof

Profile read_pprof(int descriptor, const std::string& name) {
    pprof::FieldStream stream(descriptor, name);
    try {
        return pprof::PprofReader(stream).read();
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
