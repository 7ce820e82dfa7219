// Field numbers of profile.proto (github.com/google/pprof/blob/main/proto/profile.proto).
#pragma once
#include <cstdint>

namespace unfreed::pprof {

enum class ProfileField : std::uint32_t {
    kSampleType = 1,
    kSample = 2,
    kMapping = 3,
    kLocation = 4,
    kFunction = 5,
    kStringTable = 6,
    kTimeNanos = 9,
    kDurationNanos = 10,
    kPeriodType = 11,
    kPeriod = 12,
    kComment = 13,
    kDefaultSampleType = 14,
};
enum class ValueTypeField : std::uint32_t { kType = 1, kUnit = 2 };
enum class SampleField : std::uint32_t { kLocationId = 1, kValue = 2, kLabel = 3 };
enum class LabelField : std::uint32_t { kKey = 1, kStr = 2, kNum = 3, kNumUnit = 4 };
enum class MappingField : std::uint32_t {
    kId = 1,
    kMemoryStart = 2,
    kMemoryLimit = 3,
    kFileOffset = 4,
    kFilename = 5,
    kBuildId = 6,
    kHasFunctions = 7,
    kHasFilenames = 8,
    kHasLineNumbers = 9,
    kHasInlineFrames = 10,
};
enum class LocationField : std::uint32_t { kId = 1, kMappingId = 2, kAddress = 3, kLine = 4 };
enum class LineField : std::uint32_t { kFunctionId = 1, kLine = 2 };
enum class FunctionField : std::uint32_t {
    kId = 1,
    kName = 2,
    kSystemName = 3,
    kFilename = 4,
    kStartLine = 5,
};

// Sample types and labels, in the words of the file.
inline constexpr const char* kSampleTypes[4][2] = {{"alloc_objects", "count"},
                                                   {"alloc_space", "bytes"},
                                                   {"inuse_objects", "count"},
                                                   {"inuse_space", "bytes"}};
inline constexpr const char* kLabelPid = "pid";
inline constexpr const char* kLabelProcess = "process";
inline constexpr const char* kLabelDomain = "domain";
inline constexpr const char* kLabelAge = "age";
inline constexpr const char* kLabelError = "inuse_error";  // standard error of the bytes in use
inline constexpr const char* kLabelShape = "shape";
inline constexpr const char* kLabelBase =
    "pprof::base";  // "true": subtracted; pprof takes its shares of these

}  // namespace unfreed::pprof
