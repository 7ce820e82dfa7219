// Profile -> pprof file. The message is made in pieces of a few kilobytes that go through zlib to the file:
// it is never in memory as a whole. What no sample refers to (after a filter) is left out; ids are handed out
// at the first use, so that the tables follow the samples in the file.
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <protozero/pbf_builder.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "userspace/report/comments.h"
#include "userspace/report/output_file.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

using namespace pprof;
using protozero::pbf_builder;

constexpr std::size_t kPiece = 1 << 16;
constexpr const char* kCompression =
    "wb1";  // stacks repeat: level 6 saves a third more for four times the time

class GzipWriter {
  public:
    explicit GzipWriter(OutputFile& file) : file_(file) {
        const int descriptor = fcntl(file.descriptor(), F_DUPFD_CLOEXEC, 0);
        gzip_ = descriptor < 0 ? nullptr : gzdopen(descriptor, kCompression);
        if (gzip_ == nullptr) {
            file.fail(descriptor < 0 ? errno : ENOMEM);
        }
        gzbuffer(gzip_, kPiece);
    }
    ~GzipWriter() {
        if (gzip_ != nullptr) {
            gzclose(gzip_);
        }
    }
    GzipWriter(const GzipWriter&) = delete;
    GzipWriter& operator=(const GzipWriter&) = delete;

    void write(const std::string& piece) {
        errno = 0;
        if (!piece.empty() && gzwrite(gzip_, piece.data(), static_cast<unsigned>(piece.size())) <= 0) {
            file_.fail(errno != 0 ? errno : EIO);
        }
    }
    void finish() {
        gzFile gzip = gzip_;
        gzip_ = nullptr;
        errno = 0;
        if (gzclose(gzip) != Z_OK) {
            file_.fail(errno != 0 ? errno : EIO);
        }
    }

  private:
    OutputFile& file_;
    gzFile gzip_ = nullptr;
};

// Ids (from 1) for the elements of a table, in the order of their first use.
class Ids {
  public:
    std::uint64_t operator()(std::uint32_t index) {
        if (index >= id_of_.size()) {
            id_of_.resize(std::size_t{index} * 3 / 2 + 64, 0);
        }
        if (id_of_[index] == 0) {
            used_.push_back(index);
            id_of_[index] = static_cast<std::uint32_t>(used_.size());
        }
        return id_of_[index];
    }
    std::size_t size() const { return used_.size(); }
    std::uint32_t operator[](std::size_t id_less_one) const { return used_[id_less_one]; }

  private:
    std::vector<std::uint32_t> id_of_;
    std::vector<std::uint32_t> used_;
};

class PprofWriter {
  public:
    PprofWriter(const Profile& profile, OutputFile& file) : profile_(profile), gzip_(file), top_(piece_) {}

    void write() {
        for (const auto& [type, unit] : kSampleTypes) {
            value_type(ProfileField::kSampleType, type, unit);
        }
        if (!profile_.mappings.empty()) {
            mappings_(0);  // pprof takes the first mapping for the program's own
        }
        write_samples();
        write_locations();
        write_mappings();
        write_functions();
        top_.add_int64(ProfileField::kTimeNanos, profile_.time_nanos);
        top_.add_int64(ProfileField::kDurationNanos, profile_.duration_nanos);
        value_type(ProfileField::kPeriodType, "space", "bytes");
        top_.add_int64(ProfileField::kPeriod, static_cast<std::int64_t>(profile_.sample_bytes));
        for (const std::string& comment : comments_of(profile_)) {
            top_.add_int64(ProfileField::kComment, text(comment));
        }
        top_.add_int64(ProfileField::kDefaultSampleType, text("inuse_space"));
        write_strings();
        flush(1);
        gzip_.finish();
    }

  private:
    void flush(std::size_t at_least) {
        if (piece_.size() >= at_least) {
            gzip_.write(piece_);
            piece_.clear();
        }
    }
    // Index in the file's string table, whose index 0 is the empty string.
    std::int64_t string(StringIndex index) {
        return index == 0 ? 0 : static_cast<std::int64_t>(strings_(index));
    }
    // The same for a string of ours: those that the profile lacks come after its last.
    std::int64_t text(std::string_view text) {
        const auto known = profile_.strings.find(text);
        return string(known ? *known : static_cast<StringIndex>(profile_.strings.size() + own_.intern(text)));
    }
    const std::string& string_at(StringIndex index) const {
        const std::size_t in_profile = profile_.strings.size();
        return index < in_profile ? profile_.strings[index]
                                  : own_[static_cast<StringIndex>(index - in_profile)];
    }

    void value_type(ProfileField field, std::string_view type, std::string_view unit) {
        pbf_builder<ValueTypeField> message(top_, field);
        message.add_int64(ValueTypeField::kType, text(type));
        message.add_int64(ValueTypeField::kUnit, text(unit));
    }

    void add_label(pbf_builder<SampleField>& sample, std::string_view key, StringIndex value) {
        if (value != 0) {
            pbf_builder<LabelField> label(sample, SampleField::kLabel);
            label.add_int64(LabelField::kKey, text(key));
            label.add_int64(LabelField::kStr, string(value));
        }
    }
    void add_label(pbf_builder<SampleField>& sample, std::string_view key, std::int64_t value,
                   std::string_view unit) {
        pbf_builder<LabelField> label(sample, SampleField::kLabel);
        label.add_int64(LabelField::kKey, text(key));
        label.add_int64(LabelField::kNum, value);
        if (!unit.empty()) {
            label.add_int64(LabelField::kNumUnit, text(unit));
        }
    }

    void write_samples() {
        std::vector<std::uint64_t> path;
        for (const Profile::Sample& sample : profile_.samples) {
            path.clear();
            for (std::uint32_t node = sample.leaf; node != 0 && path.size() < sample.frames;
                 node = profile_.nodes[node].caller) {
                path.push_back(locations_(profile_.nodes[node].location));
            }
            {
                pbf_builder<SampleField> message(top_, ProfileField::kSample);
                message.add_packed_uint64(SampleField::kLocationId, path.begin(), path.end());
                message.add_packed_int64(SampleField::kValue, sample.values.begin(), sample.values.end());
                if (sample.pid != 0) {
                    add_label(message, kLabelPid, sample.pid, "");
                }
                add_label(message, kLabelProcess, sample.process);
                add_label(message, kLabelDomain, sample.domain);
                add_label(message, kLabelShape, sample.shape);
                if (sample.of_base) {
                    pbf_builder<LabelField> label(message, SampleField::kLabel);
                    label.add_int64(LabelField::kKey, text(kLabelBase));
                    label.add_int64(LabelField::kStr, text("true"));
                }
                if (sample.age != Profile::kNoAge) {
                    add_label(message, kLabelAge, sample.age, "seconds");
                }
                if (sample.error != 0) {
                    add_label(message, kLabelError, sample.error, "bytes");
                }
            }
            flush(kPiece);
        }
    }

    void write_locations() {
        for (std::size_t i = 0; i < locations_.size(); ++i) {
            const Profile::Location& location = profile_.locations[locations_[i]];
            {
                pbf_builder<LocationField> message(top_, ProfileField::kLocation);
                message.add_uint64(LocationField::kId, i + 1);
                if (location.mapping != Profile::kNoMapping) {
                    message.add_uint64(LocationField::kMappingId, mappings_(location.mapping));
                    message.add_uint64(LocationField::kAddress, location.address);
                }
                for (std::uint32_t l = 0; l < location.line_count; ++l) {
                    const Profile::Line& line = profile_.lines[location.first_line + l];
                    pbf_builder<LineField> line_message(message, LocationField::kLine);
                    line_message.add_uint64(LineField::kFunctionId, functions_(line.function));
                    line_message.add_int64(LineField::kLine, line.line);
                }
            }
            flush(kPiece);
        }
    }

    void write_mappings() {
        for (std::size_t i = 0; i < mappings_.size(); ++i) {
            const Profile::Mapping& mapping = profile_.mappings[mappings_[i]];
            pbf_builder<MappingField> message(top_, ProfileField::kMapping);
            message.add_uint64(MappingField::kId, i + 1);
            message.add_uint64(MappingField::kMemoryStart, mapping.start);
            message.add_uint64(MappingField::kMemoryLimit, mapping.limit);
            message.add_uint64(MappingField::kFileOffset, mapping.offset);
            message.add_int64(MappingField::kFilename, string(mapping.file));
            message.add_int64(MappingField::kBuildId, string(mapping.build_id));
            message.add_bool(MappingField::kHasFunctions, mapping.has_functions);
            message.add_bool(MappingField::kHasFilenames, mapping.has_files);
            message.add_bool(MappingField::kHasLineNumbers, mapping.has_lines);
            message.add_bool(MappingField::kHasInlineFrames, mapping.has_inlines);
        }
    }

    void write_functions() {
        for (std::size_t i = 0; i < functions_.size(); ++i) {
            const Profile::Function& function = profile_.functions[functions_[i]];
            {
                pbf_builder<FunctionField> message(top_, ProfileField::kFunction);
                message.add_uint64(FunctionField::kId, i + 1);
                message.add_int64(FunctionField::kName, string(function.name));
                message.add_int64(FunctionField::kSystemName, string(function.system_name));
                message.add_int64(FunctionField::kFilename, string(function.file));
                message.add_int64(FunctionField::kStartLine, function.start_line);
            }
            flush(kPiece);
        }
    }

    void write_strings() {
        top_.add_string(ProfileField::kStringTable, "");
        for (std::size_t i = 0; i < strings_.size(); ++i) {
            top_.add_string(ProfileField::kStringTable, string_at(strings_[i]));
            flush(kPiece);
        }
    }

    const Profile& profile_;
    GzipWriter gzip_;
    std::string piece_;
    pbf_builder<ProfileField> top_;
    Ids locations_;
    Ids mappings_;
    Ids functions_;
    Ids strings_;
    StringTable own_;
};

}  // namespace

void write_pprof(const Profile& profile, const std::string& path) {
    OutputFile file(path);
    PprofWriter(profile, file).write();
    file.commit();
}

void write_pprof(const Profile& profile, int descriptor) {
    OutputFile file(descriptor);
    PprofWriter(profile, file).write();
}

}  // namespace unfreed
