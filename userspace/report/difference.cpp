#include "userspace/report/difference.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace unfreed {
namespace {

// Whether some file is there in both with another build-id.
bool builds_differ(const Profile& before, const Profile& after) {
    std::unordered_map<std::string_view, std::string_view> builds;
    for (const Profile::Mapping& mapping : before.mappings) {
        builds.emplace(before.strings[mapping.file], before.strings[mapping.build_id]);
    }
    return std::any_of(after.mappings.begin(), after.mappings.end(), [&](const Profile::Mapping& mapping) {
        const auto same = builds.find(after.strings[mapping.file]);
        return same != builds.end() && !same->second.empty() && mapping.build_id != 0 &&
               same->second != after.strings[mapping.build_id];
    });
}

// A process by its name and, of those, its place in the order of their pids.
using Process = std::pair<std::string_view, std::uint32_t>;  // name, pid

std::set<Process> processes_of(const Profile& profile) {
    std::set<Process> processes;
    for (const Profile::Sample& sample : profile.samples) {
        processes.emplace(profile.strings[sample.process], sample.pid);
    }
    return processes;
}

// Gives the processes of `before` the pids that they have in `after`: a process of both keeps its own; of the
// others, the first of a name before is the first of that name after, and so on. What is left over keeps its
// pid.
void renumber_processes(const Profile& after, Profile& before) {
    const std::set<Process> were = processes_of(before);
    const std::set<Process> are = processes_of(after);
    std::map<Process, std::uint32_t> pids;
    auto next = are.begin();  // moves on only: both sets are in the same order
    for (const Process& process : were) {
        if (are.contains(process)) {
            continue;
        }
        while (next != are.end() &&
               (next->first < process.first || (next->first == process.first && were.contains(*next)))) {
            ++next;
        }
        if (next != are.end() && next->first == process.first) {
            pids[process] = (next++)->second;
        }
    }
    for (Profile::Sample& sample : before.samples) {
        const auto pid = pids.find({before.strings[sample.process], sample.pid});
        sample.pid = pid == pids.end() ? sample.pid : pid->second;
    }
}

// Appends what `from` has to `to`, with its values negated. Indices move by the size that each table had.
void subtract(const Profile& from, Profile& to) {
    std::vector<StringIndex> strings;
    strings.reserve(from.strings.size());
    for (StringIndex i = 0; i < from.strings.size(); ++i) {
        strings.push_back(to.strings.intern(from.strings[i]));
    }
    const auto functions = static_cast<std::uint32_t>(to.functions.size());
    const auto mappings = static_cast<std::uint32_t>(to.mappings.size());
    const auto lines = static_cast<std::uint32_t>(to.lines.size());
    const auto locations = static_cast<std::uint32_t>(to.locations.size());
    const auto nodes = static_cast<std::uint32_t>(to.nodes.size() - 1);  // one root for both
    for (Profile::Function function : from.functions) {
        function.name = strings[function.name];
        function.system_name = strings[function.system_name];
        function.file = strings[function.file];
        to.functions.push_back(function);
    }
    for (Profile::Mapping mapping : from.mappings) {
        mapping.file = strings[mapping.file];
        mapping.build_id = strings[mapping.build_id];
        to.mappings.push_back(mapping);
    }
    for (const Profile::Line& line : from.lines) {
        to.lines.push_back({line.function + functions, line.line});
    }
    for (Profile::Location location : from.locations) {
        location.mapping += location.mapping == Profile::kNoMapping ? 0 : mappings;
        location.first_line += lines;
        to.locations.push_back(location);
    }
    for (std::size_t i = 1; i < from.nodes.size(); ++i) {
        const Profile::Node& node = from.nodes[i];
        to.nodes.push_back({node.caller == 0 ? 0 : node.caller + nodes, node.location + locations});
    }
    for (Profile::Sample sample : from.samples) {
        sample.leaf += nodes;
        sample.process = strings[sample.process];
        sample.domain = strings[sample.domain];
        sample.shape = strings[sample.shape];
        sample.of_base = true;
        for (std::int64_t& value : sample.values) {
            value = -value;
        }
        to.samples.push_back(sample);
    }
}

void add_losses(const Profile& before, Profile& after) {
    if (!before.losses || !after.losses) {
        after.losses.reset();
        return;
    }
    for (std::string& loss : *after.losses) {
        loss = "after: " + loss;
    }
    for (const std::string& loss : *before.losses) {
        after.losses->push_back("before: " + loss);
    }
}

}  // namespace

Profile difference(Profile before, Profile after) {
    renumber_processes(after, before);
    const bool by_function = builds_differ(before, after);
    subtract(before, after);
    if (by_function) {
        for (Profile::Line& line : after.lines) {
            line.line = 0;
        }
        after.notes.emplace_back("the profiles are of different builds: compared by function, not by line");
    }
    add_losses(before, after);
    after.memory = {};  // of one moment
    after.difference = true;
    return after;
}

}  // namespace unfreed
