// Snapshot: the picture of what was outstanding at one moment, as every backend gives it and every later
// stage reads it. A value: no descriptor, no pointer into a process. Nothing after `capture` knows which
// backend made it.
//
// Call paths are one tree, from the backend to the profile's writer, so that a shared prefix is held once: a
// stack is the index of its leaf node, and walking `caller` leads outwards to the root.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "userspace/snapshot/memory_table.h"

namespace unfreed {

using ProcessIndex = std::uint32_t;
using ModuleIndex = std::uint32_t;
using FrameIndex = std::uint32_t;
using NodeIndex = std::uint32_t;
inline constexpr std::uint32_t kNone = UINT32_MAX;

// A file that was mapped as code in one process (or [vdso], or anonymous executable memory: [jit]).
struct Module {
    ProcessIndex process = 0;
    std::string path;         // as the process named it
    std::string open_path;    // where to read it now when that differs (/proc/PID/map_files/...); else empty
    std::string build_id;     // lower-case hex; empty: none known
    std::uint64_t start = 0;  // mapped addresses [start, end)
    std::uint64_t end = 0;
    std::uint64_t bias = 0;  // address in the process = address in the file's symbol table + bias
};

struct Frame {
    enum class Kind : std::uint8_t {
        kReturn,    // address: where a call returns to; the call is before it
        kExact,     // address: an instruction that was interrupted (signal, or the pc itself)
        kFunction,  // the allocation function that the program called: `function` names it, address is 0
        kCreation,  // outside of a goroutine's stack: where the call of its `go` statement returns to
    };
    Kind kind = Kind::kReturn;
    ModuleIndex module = kNone;
    std::uint64_t address = 0;   // in the process
    std::uint32_t function = 0;  // index into Snapshot::functions
};

// nodes[0] is the root: caller kNone, frame kNone. A caller's index is always below its node's own.
struct Node {
    NodeIndex caller = 0;
    FrameIndex frame = kNone;
};

// One (stack, process, domain, allocation age, shape): the unit that is counted.
struct Sample {
    NodeIndex stack = 0;  // leaf node; 0: no stack known (counted in losses)
    ProcessIndex process = 0;
    std::uint32_t domain = 0;  // index into Snapshot::domains
    std::uint32_t age = 0;     // seconds, lower bound of its bucket (age_bucket.h); of the outstanding part
    std::int64_t alloc_objects =
        0;  // ever, since tracing began: on the sample with the stack's oldest age only
    std::int64_t alloc_bytes = 0;
    std::int64_t inuse_objects = 0;  // allocated while tracing and not freed
    std::int64_t inuse_bytes = 0;
    std::int64_t inuse_error = 0;  // standard error of inuse_bytes, with sampling; 0: exact
    std::uint32_t shape = 0;       // index into Snapshot::shapes
};

struct Process {
    std::uint32_t pid = 0;
    std::string name;        // short name, as in /proc/PID/comm
    std::string executable;  // path
    std::string end;       // how it ended, for people: "exited with 0", "killed by SIGKILL", "still running"
    bool by_fork = false;  // a fork without exec
};

struct Loss {
    std::string cause;  // what it means for the numbers, one clause
    std::uint64_t count = 0;
};

// A mapping that the program made and still has, for the table of where memory is.
struct LiveMapping {
    ProcessIndex process = 0;
    NodeIndex stack = 0;
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
};

struct Snapshot {
    std::vector<Process> processes;
    std::vector<Module> modules;
    std::vector<std::string>
        functions;  // allocation functions by their readable names: malloc, operator new(unsigned long)
    std::vector<std::string> domains;     // malloc, mmap, opencv, or a --pair's name
    std::vector<std::string> shapes{""};  // of what blocks serve, a cv::Mat: "480x640 CV_32FC1"; 0: not known
    std::vector<Frame> frames;            // each once
    std::vector<Node> nodes{Node{kNone, kNone}};
    std::vector<Sample> samples;
    std::vector<Loss> losses;        // only causes with a count; empty: nothing lost
    std::vector<std::string> notes;  // what the reader must know beside losses (process untraced: why)

    std::vector<LiveMapping> mappings;
    MemoryTable memory;  // where the processes' memory is; filled by the caller of Backend::snapshot()

    std::string command;               // as typed
    std::string backend;               // "preload" or "ebpf"
    std::uint64_t sample_bytes = 0;    // 0: every allocation
    std::uint32_t depth = 128;         // frames kept per stack, leaf side first
    std::int64_t started_unix_ns = 0;  // when tracing began
    std::int64_t duration_ns = 0;
};

}  // namespace unfreed
