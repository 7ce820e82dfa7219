#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "userspace/report/call_tree.h"
#include "userspace/report/comments.h"
#include "userspace/report/markup.h"
#include "userspace/report/memory_text.h"
#include "userspace/report/views.h"

namespace unfreed {
namespace {

constexpr std::size_t kListed = 100;  // call paths in the table unless --top says otherwise

constexpr std::size_t kCallersInSummary = 3;

constexpr const char* kStyle = R"(
body { font-family: system-ui, sans-serif; margin: 0 auto; max-width: 1800px; padding: 0 12px 40px; color: #222; }
h2 { font-size: 17px; margin: 28px 0 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; border-bottom: 2px solid #bbb; padding: 4px 12px 4px 0; }
td { vertical-align: top; border-bottom: 1px solid #e4e4e4; padding: 4px 12px 4px 0; white-space: nowrap; }
td:last-child { width: 100%; white-space: normal; font-family: "DejaVu Sans Mono", Menlo, monospace; font-size: 12px; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.graph { max-height: 75vh; overflow-y: auto; border-bottom: 1px solid #bbb; }
summary { cursor: pointer; overflow-wrap: anywhere; }
ol { margin: 4px 0; padding-left: 28px; overflow-wrap: anywhere; }
.source { color: #777; }
)";

std::string frame_markup(const Profile& profile, const CallTree::Frame& frame) {
    return fmt::format("{} <span class=\"source\">{}</span>", escaped(profile.strings[frame.function]),
                       escaped(source_text(profile, frame)));
}

void write_path_row(const Profile& profile, const CallTree& tree, std::uint32_t leaf, std::int64_t whole,
                    std::ostream& out) {
    const CallTree::Weight& self = tree.self[leaf];
    out << fmt::format(
        "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td>",
        bytes_text(self.bytes) + error_text(self), count_text(self.objects),
        share_text(tree.pick(self), whole), profile.difference ? "" : age_text(tree.ages[leaf]));
    // The summary is what the program did: the allocation function's callers.
    std::uint32_t caller = tree.nodes[leaf].caller == 0 ? leaf : tree.nodes[leaf].caller;
    out << "<td><details><summary>" << frame_markup(profile, tree.frames[tree.nodes[caller].location]);
    for (std::size_t i = 1; i < kCallersInSummary && (caller = tree.nodes[caller].caller) != 0; ++i) {
        out << " &lt; " << escaped(profile.strings[tree.frames[tree.nodes[caller].location].function]);
    }
    out << "</summary><ol>";
    for (std::uint32_t node = leaf; node != 0; node = tree.nodes[node].caller) {
        out << "<li>" << frame_markup(profile, tree.frames[tree.nodes[node].location]) << "</li>";
    }
    out << "</ol></details></td></tr>\n";
}

void write_list(const char* heading, const std::vector<std::string>& lines, std::ostream& out) {
    if (lines.empty()) {
        return;
    }
    out << "<h2>" << heading << "</h2>\n<ul>\n";
    for (const std::string& line : lines) {
        out << "<li>" << escaped(line) << "</li>\n";
    }
    out << "</ul>\n";
}

}  // namespace

void write_html(const Profile& profile, const ViewOptions& options, std::ostream& out) {
    out << "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/><title>"
        << escaped(profile.command.empty() ? "memory profile" : profile.command) << "</title><style>"
        << kStyle << "</style></head>\n<body>\n<div class=\"graph\">\n";
    write_flame_graph(profile, options, out);
    out << "</div>\n";

    const CallTree tree = build_call_tree(profile, options.value, CallTree::MergeBy::kLine);
    std::vector<std::uint32_t> paths = tree.heaviest_paths();
    const std::size_t all = paths.size();
    paths.resize(std::min(all, options.top == SIZE_MAX ? kListed : options.top));
    out << fmt::format("<h2>{} of {} call paths, {}</h2>\n", paths.size(),
                       count_text(static_cast<std::int64_t>(all)),
                       profile.difference ? "against the profile before" : escaped(amount_text(tree, false)));
    out << "<table>\n<tr><th>size</th><th>blocks</th><th>share</th><th>age</th><th>call path</th></tr>\n";
    const std::int64_t whole = profile.difference ? 0 : tree.pick(tree.total[0]);
    for (const std::uint32_t leaf : paths) {
        write_path_row(profile, tree, leaf, whole, out);
    }
    out << "</table>\n";

    if (!profile.memory.rows.empty()) {
        std::stringstream table;
        write_memory(profile.memory, table);
        out << "<h2>Where the memory is</h2>\n<pre>";
        for (std::string line; std::getline(table, line);) {
            out << escaped(line) << '\n';
        }
        out << "</pre>\n";
    }
    write_list("What is missing from these numbers", loss_statement(profile), out);
    write_list("Notes", profile.notes, out);
    std::vector<std::string> run;
    if (!profile.backend.empty()) {
        run.push_back(profile.backend + ", " + sampling_text(profile));
    }
    if (profile.time_nanos != 0) {
        run.push_back("traced for " + duration_text(profile.duration_nanos) + " until " +
                      time_text(profile.time_nanos));
    }
    run.insert(run.end(), profile.processes.begin(), profile.processes.end());
    write_list("The run", run, out);
    out << "</body>\n</html>\n";
}

}  // namespace unfreed
