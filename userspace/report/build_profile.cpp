// Snapshot -> Profile, in four steps: where each frame is; what each place is called; the tree without the
// shim's frames; the samples with their leaf and depth.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "userspace/report/format.h"
#include "userspace/report/modules.h"
#include "userspace/report/namer.h"
#include "userspace/report/path_tree.h"
#include "userspace/report/report.h"

namespace unfreed {
namespace {

constexpr std::uint32_t kShimFrame = kNone;
constexpr std::size_t kNameColumns = 32;  // of one function in the table of where memory is

// Where the frame is, to look up: for a return address, inside the call before it.
std::uint64_t lookup_address(const Frame& frame) {
    const bool returns = frame.kind == Frame::Kind::kReturn || frame.kind == Frame::Kind::kCreation;
    return returns ? frame.address - 1 : frame.address;
}

// Steps 1 and 2: the profile's location for each frame of the snapshot.
std::vector<std::uint32_t> name_frames(const Snapshot& snapshot, Namer& namer, const Progress& progress) {
    struct Place {
        std::uint32_t group;
        FrameIndex frame;
        std::uint64_t address;
    };
    const ModuleGroups groups = group_modules(
        snapshot.modules, snapshot.processes.empty() ? std::string_view() : snapshot.processes[0].executable);
    std::vector<std::uint32_t> location_of(snapshot.frames.size(), kShimFrame);
    std::vector<std::uint32_t> function_location(snapshot.functions.size(), kNone);
    std::uint32_t unknown = kNone;
    std::vector<Place> places;
    places.reserve(snapshot.frames.size());

    for (FrameIndex i = 0; i < snapshot.frames.size(); ++i) {
        const Frame& frame = snapshot.frames[i];
        if (frame.kind == Frame::Kind::kFunction) {
            std::uint32_t& location = function_location[frame.function];
            location = location == kNone ? namer.add_name(snapshot.functions[frame.function]) : location;
            location_of[i] = location;
        } else if (frame.module == kNone) {
            unknown = unknown == kNone ? namer.add_name("[unknown]") : unknown;
            location_of[i] = unknown;
        } else if (const Module& module = snapshot.modules[frame.module]; !is_shim(module)) {
            const std::uint32_t group = groups.group_of[frame.module];
            places.push_back(
                {group, i,
                 move_address(lookup_address(frame), module, snapshot.modules[groups.first[group]])});
        }
    }
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
        return a.group != b.group ? a.group < b.group : a.address < b.address;
    });

    std::vector<std::uint64_t> addresses;
    for (std::size_t begin = 0; begin < places.size();) {
        const std::uint32_t group = places[begin].group;
        std::size_t end = begin;
        addresses.clear();
        for (; end < places.size() && places[end].group == group; ++end) {
            if (addresses.empty() || addresses.back() != places[end].address) {
                addresses.push_back(places[end].address);
            }
        }
        const Module& module = snapshot.modules[groups.first[group]];
        if (progress) {
            progress(module.path, begin, places.size());
        }
        std::uint32_t location = namer.add_module(module, addresses);
        for (std::size_t i = begin; i < end; ++i) {
            location += i != begin && places[i].address != places[i - 1].address ? 1 : 0;
            location_of[places[i].frame] = location;
        }
        begin = end;
    }
    if (progress) {
        progress("", places.size(), places.size());
    }
    for (FrameIndex i = 0; i < snapshot.frames.size(); ++i) {
        if (snapshot.frames[i].kind == Frame::Kind::kCreation && location_of[i] != kShimFrame) {
            location_of[i] = namer.add_creation(location_of[i]);
        }
    }
    return location_of;
}

// Step 3: the profile's node for each node of the snapshot. A frame of the shim becomes its caller.
std::vector<std::uint32_t> map_nodes(const Snapshot& snapshot, const std::vector<std::uint32_t>& location_of,
                                     Profile& profile) {
    PathTree tree(profile.nodes);
    std::vector<std::uint32_t> node_of(snapshot.nodes.size(), 0);
    for (NodeIndex i = 1; i < snapshot.nodes.size(); ++i) {
        const Node& node = snapshot.nodes[i];
        const std::uint32_t location = location_of[node.frame];
        const std::uint32_t caller = node_of[node.caller];
        node_of[i] = location == kShimFrame ? caller : tree.child(caller, location);
    }
    return node_of;
}

// Whether a location is the language's operator new, whoever provides it (libstdc++, libc++, the program).
bool is_operator_new(const Profile& profile, std::uint32_t location) {
    const Profile::Location& l = profile.locations[location];
    const Profile::Line& outermost = profile.lines[l.first_line + l.line_count - 1];
    const std::string_view name = profile.strings[profile.functions[outermost.function].name];
    return name.starts_with("operator new(") || name.starts_with("operator new[](");
}

bool is_heap_function(std::string_view name) {
    constexpr std::string_view kNames[] = {"malloc", "posix_memalign", "aligned_alloc", "memalign"};
    return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
           name.starts_with("operator new");
}

// The program called operator new, and that called malloc: the leaf is what the program called.
std::uint32_t fold_operator_new(const Profile& profile, const std::vector<bool>& is_new, std::uint32_t leaf) {
    const Profile::Location& location = profile.locations[profile.nodes[leaf].location];
    if (location.mapping != Profile::kNoMapping ||
        !is_heap_function(
            profile.strings[profile.functions[profile.lines[location.first_line].function].name])) {
        return leaf;
    }
    for (std::uint32_t caller = profile.nodes[leaf].caller;
         caller != 0 && is_new[profile.nodes[caller].location]; caller = profile.nodes[leaf].caller) {
        leaf = caller;
    }
    return leaf;
}

// Step 4. Returns how many call paths lost frames to `depth`.
std::uint64_t add_samples(const Snapshot& snapshot, const std::vector<std::uint32_t>& node_of, Namer& namer,
                          Profile& profile) {
    std::vector<bool> is_new(profile.locations.size() + 1);  // and the root's, and what stands for no path
    for (std::uint32_t i = 0; i < profile.locations.size(); ++i) {
        is_new[i] = profile.locations[i].mapping != Profile::kNoMapping && is_operator_new(profile, i);
    }
    std::vector<std::uint32_t> frames_to(profile.nodes.size(), 0);
    for (std::uint32_t i = 1; i < profile.nodes.size(); ++i) {
        frames_to[i] = frames_to[profile.nodes[i].caller] + 1;
    }
    std::vector<StringIndex> processes;
    std::vector<StringIndex> domains;
    for (const Process& process : snapshot.processes) {
        processes.push_back(profile.strings.intern(process.name));
    }
    for (const std::string& domain : snapshot.domains) {
        domains.push_back(profile.strings.intern(domain));
    }
    std::vector<StringIndex> shapes;
    for (const std::string& shape : snapshot.shapes) {
        shapes.push_back(profile.strings.intern(shape));
    }

    std::uint64_t cut = 0;
    std::vector<bool> counted(profile.nodes.size());
    std::uint32_t no_path = 0;
    profile.samples.reserve(snapshot.samples.size());
    for (const Sample& sample : snapshot.samples) {
        std::uint32_t leaf = node_of[sample.stack];
        std::uint32_t frames = Profile::kAllFrames;
        if (leaf == 0) {
            if (no_path == 0) {
                no_path = static_cast<std::uint32_t>(profile.nodes.size());
                profile.nodes.push_back({0, namer.add_name("[call path not recorded]")});
            }
            leaf = no_path;
        } else {
            leaf = fold_operator_new(profile, is_new, leaf);
            if (frames_to[leaf] > snapshot.depth) {
                frames = snapshot.depth;
                cut += counted[leaf] ? 0 : 1;
                counted[leaf] = true;
            }
        }
        profile.samples.push_back(
            {leaf,
             frames,
             snapshot.processes[sample.process].pid,
             processes[sample.process],
             domains[sample.domain],
             std::int64_t{sample.age},
             {sample.alloc_objects, sample.alloc_bytes, sample.inuse_objects, sample.inuse_bytes},
             shapes[sample.shape],
             sample.inuse_error});
    }
    return cut;
}

// "mmap, as traced: alloc_arena < start < main", the innermost frames of the row's path.
std::string row_name(const Profile& profile, const std::string& name, std::uint32_t node) {
    constexpr int kFrames = 3;
    std::string path;
    node = profile.nodes[node].caller;  // the leaf is the allocation function
    for (int i = 0; i < kFrames && node != 0; ++i, node = profile.nodes[node].caller) {
        const Profile::Location& location = profile.locations[profile.nodes[node].location];
        const Profile::Line& line = profile.lines[location.first_line + location.line_count - 1];
        path += (path.empty() ? "" : " < ") +
                fit_name(profile.strings[profile.functions[line.function].name], kNameColumns);
    }
    return path.empty() ? name : name + ": " + path;
}

void describe(const Snapshot& snapshot, std::uint64_t cut_paths, Profile& profile) {
    profile.command = snapshot.command;
    profile.backend = snapshot.backend;
    profile.sample_bytes = snapshot.sample_bytes;
    profile.time_nanos = snapshot.started_unix_ns + snapshot.duration_ns;
    profile.duration_nanos = snapshot.duration_ns;
    profile.notes = snapshot.notes;
    for (const Process& process : snapshot.processes) {
        profile.processes.push_back(fmt::format("{} {}: {}", process.pid, process.name, process.end));
    }
    profile.losses.emplace();
    for (const Loss& loss : snapshot.losses) {
        profile.losses->push_back(fmt::format("{} {}", loss.count, loss.cause));
    }
    if (cut_paths != 0) {
        profile.losses->push_back(fmt::format(
            "{} call paths cut short: their outermost frames are beyond the {} that --depth keeps", cut_paths,
            snapshot.depth));
    }
}

}  // namespace

Profile build_profile(Snapshot&& given, const Progress& progress) {
    Snapshot snapshot = std::move(given);
    Profile profile;
    Namer namer(profile);
    const std::vector<std::uint32_t> location_of = name_frames(snapshot, namer, progress);
    const std::vector<std::uint32_t> node_of = map_nodes(snapshot, location_of, profile);
    std::vector<Node>().swap(snapshot.nodes);
    profile.memory = std::move(snapshot.memory);
    for (MemoryRow& row : profile.memory.rows) {
        if (row.stack != 0) {
            row.name = row_name(profile, row.name, node_of[row.stack]);
        }
    }
    const std::uint64_t cut_paths = add_samples(snapshot, node_of, namer, profile);
    describe(snapshot, cut_paths, profile);
    return profile;
}

}  // namespace unfreed
