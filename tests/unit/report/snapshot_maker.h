// Small snapshots made by hand, and profiles as text to compare with.
#pragma once
#include <filesystem>
#include <initializer_list>
#include <sstream>
#include <string>
#include <vector>

#include "userspace/report/report.h"
#include "userspace/snapshot/snapshot.h"

// One process 100 "app" with the domain malloc. Modules do not exist on disk, so that every frame is called
// "name+0xoffset [why]".
struct SnapshotMaker {
    unfreed::Snapshot snapshot;

    SnapshotMaker() {
        snapshot.processes.push_back({100, "app", "/nowhere/app", "exited with 0", false});
        snapshot.domains = {"malloc", "mmap"};
        snapshot.command = "app --flag";
        snapshot.backend = "preload";
        snapshot.started_unix_ns = 1'700'000'000'000'000'000;
        snapshot.duration_ns = 2'500'000'000;
    }

    unfreed::ModuleIndex module(const std::string& path, std::uint64_t bias, std::uint32_t process = 0) {
        snapshot.modules.push_back({process, path, "", "", bias, bias + 0x100000, bias});
        return static_cast<unfreed::ModuleIndex>(snapshot.modules.size() - 1);
    }
    unfreed::FrameIndex function(const std::string& name) {
        snapshot.functions.push_back(name);
        return frame({unfreed::Frame::Kind::kFunction, unfreed::kNone, 0,
                      static_cast<std::uint32_t>(snapshot.functions.size() - 1)});
    }
    // A return address, `offset` into the file.
    unfreed::FrameIndex call(unfreed::ModuleIndex module, std::uint64_t offset) {
        return frame({unfreed::Frame::Kind::kReturn, module, snapshot.modules[module].bias + offset, 0});
    }
    unfreed::FrameIndex frame(const unfreed::Frame& frame) {
        snapshot.frames.push_back(frame);
        return static_cast<unfreed::FrameIndex>(snapshot.frames.size() - 1);
    }
    // Outermost first; equal beginnings share their nodes.
    unfreed::NodeIndex path(const std::vector<unfreed::FrameIndex>& frames) {
        unfreed::NodeIndex node = 0;
        for (const unfreed::FrameIndex frame : frames) {
            node = child(node, frame);
        }
        return node;
    }
    void sample(unfreed::NodeIndex stack, std::int64_t objects, std::int64_t bytes, std::uint32_t age = 0,
                std::uint32_t process = 0, std::uint32_t domain = 0) {
        snapshot.samples.push_back({stack, process, domain, age, 2 * objects, 2 * bytes, objects, bytes});
    }
    unfreed::Profile profile() { return unfreed::build_profile(std::move(snapshot), {}); }

  private:
    unfreed::NodeIndex child(unfreed::NodeIndex caller, unfreed::FrameIndex frame) {
        for (unfreed::NodeIndex i = 1; i < snapshot.nodes.size(); ++i) {
            if (snapshot.nodes[i].caller == caller && snapshot.nodes[i].frame == frame) {
                return i;
            }
        }
        snapshot.nodes.push_back({caller, frame});
        return static_cast<unfreed::NodeIndex>(snapshot.nodes.size() - 1);
    }
};

// "malloc < a < main": the innermost frame first.
inline std::string path_text(const unfreed::Profile& profile, const unfreed::Profile::Sample& sample) {
    std::string text;
    std::uint32_t frames = 0;
    for (std::uint32_t node = sample.leaf; node != 0 && frames < sample.frames;
         node = profile.nodes[node].caller, ++frames) {
        const unfreed::Profile::Location& location = profile.locations[profile.nodes[node].location];
        for (std::uint32_t i = 0; i < location.line_count; ++i) {
            const unfreed::Profile::Line& line = profile.lines[location.first_line + i];
            text += (text.empty() ? "" : " < ") + profile.strings[profile.functions[line.function].name];
            text += line.line == 0 ? "" : ":" + std::to_string(line.line);
        }
    }
    return text;
}

// Every sample in one line each: path, values, labels.
inline std::vector<std::string> sample_texts(const unfreed::Profile& profile) {
    std::vector<std::string> texts;
    for (const unfreed::Profile::Sample& sample : profile.samples) {
        std::ostringstream text;
        text << path_text(profile, sample) << " |";
        for (const std::int64_t value : sample.values) {
            text << ' ' << value;
        }
        text << " | " << sample.pid << ' ' << profile.strings[sample.process] << ' '
             << profile.strings[sample.domain] << ' ' << sample.age;
        texts.push_back(text.str());
    }
    return texts;
}

// A profile as no file could be simpler: paths of names, outermost first, and their bytes (one block each).
struct NamedPath {
    std::vector<std::string> functions;
    std::int64_t bytes = 0;
    std::uint32_t pid = 100;
    std::uint32_t age = 0;
};
inline unfreed::Profile profile_of(const std::vector<NamedPath>& paths) {
    SnapshotMaker maker;
    maker.snapshot.processes.clear();
    std::vector<std::string> names;
    for (const NamedPath& path : paths) {
        std::uint32_t process = 0;
        while (process < maker.snapshot.processes.size() &&
               maker.snapshot.processes[process].pid != path.pid) {
            ++process;
        }
        if (process == maker.snapshot.processes.size()) {
            maker.snapshot.processes.push_back({path.pid, "app", "/nowhere/app", "exited with 0", false});
        }
        std::vector<unfreed::FrameIndex> frames;
        for (const std::string& name : path.functions) {
            std::uint32_t index = 0;
            while (index < names.size() && names[index] != name) {
                ++index;
            }
            if (index == names.size()) {
                names.push_back(name);
                maker.function(name);
            }
            frames.push_back(index);
        }
        maker.sample(maker.path(frames), 1, path.bytes, path.age, process);
    }
    return maker.profile();
}

// A folder that is gone with the test.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "unfreed-report-XXXXXX").string();
        path_ = ::mkdtemp(name.data()) == nullptr ? "" : name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};
