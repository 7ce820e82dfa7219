// Profile: a Snapshot with names, and at the same time what a pprof file holds (profile.proto; see
// github.com/google/pprof/blob/main/proto/profile.proto). Made by build_profile() or read_pprof(); every view
// reads it.
//
// Call paths stay one tree, as in the Snapshot: a stack is the index of its leaf node, and no stage holds a
// list of frames per stack.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/report/string_table.h"
#include "userspace/snapshot/memory_table.h"

namespace unfreed {

// The four values of a sample, in the order of Go's heap profiles.
enum class Value : std::uint8_t { kAllocObjects, kAllocSpace, kInuseObjects, kInuseSpace };
inline constexpr std::size_t kValues = 4;

struct Profile {
    struct Function {
        StringIndex name = 0;         // readable
        StringIndex system_name = 0;  // mangled
        StringIndex file = 0;         // 0: not known
        std::int64_t start_line = 0;
        bool operator==(const Function&) const = default;
    };
    // A file mapped as code. A module that several processes mapped is one mapping: the first process's.
    struct Mapping {
        std::uint64_t start = 0;  // [start, limit)
        std::uint64_t limit = 0;
        std::uint64_t offset = 0;  // in the file, of `start`
        StringIndex file = 0;
        StringIndex build_id = 0;
        bool has_functions = false;  // some address of it got a name
        bool has_files = false;
        bool has_lines = false;
        bool has_inlines = false;
    };
    struct Line {
        std::uint32_t function = 0;  // index into functions
        std::int64_t line = 0;       // 0: not known
    };
    struct Location {
        std::uint32_t mapping = kNoMapping;
        std::uint64_t address = 0;     // 0 for the allocation function that the program called
        std::uint32_t first_line = 0;  // lines[first_line, first_line + line_count): innermost first.
        std::uint32_t line_count = 0;  // Never 0: a nameless address has one line that says
                                       // "module+0xoffset [why]"
    };
    // nodes[0] is the root. A caller's index is always below its node's own.
    struct Node {
        std::uint32_t caller = 0;
        std::uint32_t location = 0;
    };
    struct Sample {
        std::uint32_t leaf = 0;
        std::uint32_t frames =
            kAllFrames;         // how many of the path, from the leaf on; the rest was cut (--depth)
        std::uint32_t pid = 0;  // 0: not known
        StringIndex process = 0;
        StringIndex domain = 0;
        std::int64_t age = kNoAge;  // seconds, lower bound of its bucket
        std::array<std::int64_t, kValues> values{};
        StringIndex shape = 0;   // of the matrix that the blocks serve; 0: not known
        std::int64_t error = 0;  // standard error of the bytes in use, with sampling; 0: exact
        bool of_base = false;    // of the profile before, negated (difference.h)
    };
    static constexpr std::uint32_t kNoMapping = UINT32_MAX;
    static constexpr std::uint32_t kAllFrames = UINT32_MAX;
    static constexpr std::int64_t kNoAge = -1;

    StringTable strings;
    std::vector<Function> functions;
    std::vector<Mapping> mappings;
    std::vector<Line> lines;
    std::vector<Location> locations;
    std::vector<Node> nodes{Node{}};
    std::vector<Sample> samples;

    // What the file's comments say (comments.h).
    std::string command;                 // as typed; empty: not known
    std::string backend;                 // "preload", "ebpf"; empty: not written by unfreed
    std::vector<std::string> processes;  // "PID NAME: how it ended"
    std::optional<std::vector<std::string>>
        losses;  // one line per cause; empty: nothing lost; no value: unknown
    std::vector<std::string> notes;
    MemoryTable memory;  // its rows' stacks are in their names by now

    bool difference = false;  // some sample is of_base: values may be negative, and their sum is a change

    std::uint64_t sample_bytes = 0;   // mean bytes between sampled allocations; 0: every allocation
    std::int64_t time_nanos = 0;      // the moment of the snapshot, since 1970
    std::int64_t duration_nanos = 0;  // traced until then
};

}  // namespace unfreed
