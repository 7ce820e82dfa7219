#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/report/call_tree.h"
#include "userspace/report/comments.h"
#include "userspace/report/format.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/views.h"

namespace unfreed {
namespace {

std::string quoted(std::string_view text) {
    std::string json = "\"";
    for (const char c : printable(text)) {
        if (c == '"' || c == '\\') {
            json += '\\';
        }
        json += c;
    }
    return json += '"';
}

std::string list(const std::vector<std::string>& lines) {
    std::string json = "[";
    for (const std::string& line : lines) {
        json += (json.size() == 1 ? "" : ", ") + quoted(line);
    }
    return json += ']';
}

std::string rows(const std::vector<MemoryRow>& rows) {
    std::string json = "[";
    for (const MemoryRow& row : rows) {
        json += fmt::format("{}{{\"name\": {}, \"resident\": {}, \"swapped\": {}}}",
                            json.size() == 1 ? "\n" : ",\n", quoted(row.name), row.resident, row.swapped);
    }
    return json += ']';
}

std::string memory(const MemoryTable& table) {
    return fmt::format("{{\"of\": {}, \"rows\": {}, \"kernel\": {}, \"processes\": {}, \"notes\": {}}}",
                       quoted(table.of), rows(table.rows), table.kernel, rows(table.processes),
                       list(table.notes));
}

}  // namespace

void write_json(const Profile& profile, const ViewOptions& options, std::ostream& out) {
    const CallTree tree = build_call_tree(profile, options.value, CallTree::MergeBy::kLine);
    out << "{\n\"format\": 1,\n";
    out << "\"command\": " << quoted(profile.command) << ",\n";
    out << "\"backend\": " << quoted(profile.backend) << ",\n";
    out << "\"sample_bytes\": " << profile.sample_bytes << ",\n";
    out << fmt::format("\"time\": {:.3f},\n", static_cast<double>(profile.time_nanos) / 1e9);
    out << fmt::format("\"duration\": {:.3f},\n", static_cast<double>(profile.duration_nanos) / 1e9);
    out << "\"processes\": " << list(profile.processes) << ",\n";
    out << "\"loss_statement\": " << list(loss_statement(profile)) << ",\n";
    out << "\"notes\": " << list(profile.notes) << ",\n";
    out << "\"memory\": " << memory(profile.memory) << ",\n";
    out << "\"difference\": " << (profile.difference ? "true" : "false") << ",\n";
    out << "\"value\": " << quoted(pprof::kSampleTypes[static_cast<std::size_t>(options.value)][0]) << ",\n";
    out << "\"bytes\": " << tree.total[0].bytes << ",\n\"blocks\": " << tree.total[0].objects << ",\n";
    if (profile.sample_bytes > 1) {
        out << "\"standard_error\": " << std::llround(std::sqrt(tree.total[0].variance)) << ",\n";
    }

    std::vector<std::uint32_t> paths = tree.heaviest_paths();
    paths.resize(std::min(paths.size(), options.top));
    std::vector<std::uint32_t> listed;  // frames of these paths, in the order of their first use
    std::vector<std::uint32_t> place(tree.frames.size(), UINT32_MAX);  // of a frame in `listed`
    for (const std::uint32_t leaf : paths) {
        for (std::uint32_t node = leaf; node != 0; node = tree.nodes[node].caller) {
            std::uint32_t& at = place[tree.nodes[node].location];
            if (at == UINT32_MAX) {
                at = static_cast<std::uint32_t>(listed.size());
                listed.push_back(tree.nodes[node].location);
            }
        }
    }

    out << "\"frames\": [";
    const char* separator = "\n";
    for (const std::uint32_t index : listed) {
        const CallTree::Frame& frame = tree.frames[index];
        out << separator << "{\"function\": " << quoted(profile.strings[frame.function]);
        if (frame.file != 0) {
            out << ", \"file\": " << quoted(profile.strings[frame.file]);
        }
        if (frame.line > 0) {
            out << ", \"line\": " << frame.line;
        }
        if (frame.module != 0) {
            out << ", \"module\": " << quoted(profile.strings[frame.module]);
        }
        out << '}';
        separator = ",\n";
    }
    out << "\n],\n\"paths\": [";
    separator = "\n";
    for (const std::uint32_t leaf : paths) {
        out << separator << "{\"bytes\": " << tree.self[leaf].bytes
            << ", \"blocks\": " << tree.self[leaf].objects;
        if (profile.sample_bytes > 1) {
            out << ", \"standard_error\": " << std::llround(std::sqrt(tree.self[leaf].variance));
        }
        if (tree.ages[leaf].oldest != Profile::kNoAge) {
            out << ", \"youngest\": " << tree.ages[leaf].youngest
                << ", \"oldest\": " << tree.ages[leaf].oldest;
        }
        out << ", \"frames\": [";
        for (std::uint32_t node = leaf; node != 0; node = tree.nodes[node].caller) {
            out << (node == leaf ? "" : ", ") << place[tree.nodes[node].location];
        }
        out << "]}";
        separator = ",\n";
    }
    out << "\n]\n}\n";
}

}  // namespace unfreed
