// The flame graph as one SVG file: frames from the top (outermost) down, as wide as what they hold. Drawn
// whole for viewers without scripts; flame_graph.js makes it live.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "flame_graph_assets.h"  // made from flame_graph.css and flame_graph.js
#include "userspace/report/call_tree.h"
#include "userspace/report/comments.h"
#include "userspace/report/markup.h"
#include "userspace/report/views.h"

namespace unfreed {
namespace {

constexpr double kWidth = 1200;
constexpr double kMargin = 10;
constexpr double kRow = 18;
constexpr double kHeading = 94;              // above the outermost frame
constexpr double kFooting = 12;              // below the innermost
constexpr double kColumn = 7.25;             // width of a character: flame_graph.js cuts names by it too
constexpr double kNarrowest = 0.3 / kWidth;  // of the whole: narrower frames are not drawn

// One hue per module, so that libraries can be told apart; the function decides how light it is. Allocation
// functions, which belong to no module, are grey.
std::string colour(const std::string& module, const std::string& function) {
    const auto hash = [](std::string_view text) {
        std::uint32_t h = 2166136261u;  // FNV-1a: the same colours everywhere and every time
        for (const char c : text) {
            h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
        }
        return h ^ h >> 15;
    };
    if (module.empty()) {
        return "#c9c9c9";
    }
    const double hue = hash(module.substr(module.rfind('/') + 1)) % 24 * 15;
    const double lightness = 0.70 + hash(function) % 13 * 0.01;
    const double chroma = 0.75 * (1 - std::abs(2 * lightness - 1));
    std::array<unsigned, 3> rgb{};
    for (std::size_t i = 0; i < 3; ++i) {  // HSL to RGB, each channel a third of the circle apart
        double at = hue / 60 + static_cast<double>(6 - 2 * i);
        at = at >= 6 ? at - 6 : at;
        const double part = at < 1 || at >= 5 ? 1 : at < 2 ? 2 - at : at >= 4 ? at - 4 : 0;
        rgb[i] = static_cast<unsigned>(255 * (lightness - chroma / 2 + chroma * std::clamp(part, 0.0, 1.0)));
    }
    return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

struct Box {
    std::uint32_t node;
    std::size_t depth;
    double x;  // parts of the whole
    double width;
};

// In depth-first order from the left (flame_graph.js counts on it); neighbours by name, so that two graphs of
// one program look alike.
std::vector<Box> place(const Profile& profile, const CallTree& tree) {
    std::vector<Box> boxes;
    const auto whole = static_cast<double>(tree.pick(tree.total[0]));
    if (whole <= 0) {
        return boxes;
    }
    CallTree::Children children = tree.children();
    std::vector<Box> open{{0, 0, 0, 1}};
    while (!open.empty()) {
        const Box box = open.back();
        open.pop_back();
        boxes.push_back(box);
        const auto begin = children.nodes.begin() + children.first[box.node];
        const auto end = children.nodes.begin() + children.first[box.node + 1];
        std::sort(begin, end, [&](std::uint32_t a, std::uint32_t b) {
            return profile.strings[tree.frames[tree.nodes[a].location].function] <
                   profile.strings[tree.frames[tree.nodes[b].location].function];
        });
        double x = box.x;
        const auto opened = static_cast<std::ptrdiff_t>(open.size());
        for (auto child = begin; child != end; ++child) {
            const double width = static_cast<double>(tree.pick(tree.total[*child])) / whole;
            if (width >= kNarrowest) {
                open.push_back({*child, box.depth + 1, x, width});
            }
            x += std::max(width, 0.0);
        }
        std::reverse(open.begin() + opened, open.end());  // the leftmost is next
    }
    return boxes;
}

void write_box(const Profile& profile, const CallTree& tree, const Box& box, std::ostream& out) {
    const bool is_root = box.node == 0;
    const CallTree::Frame frame = is_root ? CallTree::Frame{} : tree.frames[tree.nodes[box.node].location];
    const std::string& module = profile.strings[frame.module];
    const std::string name = is_root ? "all" : printable(profile.strings[frame.function]);
    const CallTree::Weight& total = tree.total[box.node];
    const double x = kMargin + box.x * (kWidth - 2 * kMargin);
    const double y = kHeading + static_cast<double>(box.depth) * kRow;
    const double width = box.width * (kWidth - 2 * kMargin);
    const auto columns = static_cast<std::size_t>(std::max(0.0, (width - 6) / kColumn));
    const std::string label = columns < 3              ? ""
                              : name.size() <= columns ? name
                                                       : name.substr(0, columns - 2) + "..";

    out << fmt::format(
        "<g class=\"f\" data-x=\"{:.8f}\" data-w=\"{:.8f}\" data-d=\"{}\"><title>{}\n{} in {}, {}{}{}", box.x,
        box.width, box.depth, escaped(name), bytes_text(total.bytes), blocks_text(total.objects),
        share_text(tree.pick(total), tree.pick(tree.total[0])), module.empty() ? "" : "\n", escaped(module));
    out << fmt::format("</title><rect x=\"{:.2f}\" y=\"{:.0f}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"/>",
                       x, y, std::max(width - 0.5, 0.3), kRow - 1,
                       is_root ? "#e4e4e4" : colour(module, name));
    out << fmt::format("<text x=\"{:.2f}\" y=\"{:.0f}\">{}</text></g>\n", x + 3, y + kRow - 5.5,
                       escaped(label));
}

}  // namespace

std::string amount_text(const CallTree& tree, bool difference) {
    const bool in_use = tree.value == Value::kInuseObjects || tree.value == Value::kInuseSpace;
    return fmt::format("{}{} in {} {}{}", bytes_text(tree.total[0].bytes), error_text(tree.total[0]),
                       blocks_text(tree.total[0].objects), in_use ? "not freed" : "allocated",
                       difference ? ", more than before (growth only)" : "");
}

void write_flame_graph(const Profile& profile, const ViewOptions& options, std::ostream& out) {
    const CallTree tree =
        build_call_tree(profile, options.value, CallTree::MergeBy::kFunction, profile.difference);
    const std::vector<Box> boxes = place(profile, tree);
    std::size_t depth = 0;
    for (const Box& box : boxes) {
        depth = std::max(depth, box.depth + 1);
    }
    const double height = kHeading + static_cast<double>(std::max<std::size_t>(depth, 1)) * kRow + kFooting;

    out << fmt::format(
        "<svg class=\"flame\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\">\n",
        kWidth, height);
    out << "<style>\n" << kFlameGraphCss << "</style>\n";
    out << fmt::format("<rect class=\"wide\" width=\"{}\" height=\"{}\" fill=\"#fff\"/>\n", kWidth, height);
    out << fmt::format("<text class=\"heading\" x=\"{}\" y=\"26\">{}</text>\n", kMargin,
                       escaped(fit_text(profile.command.empty() ? "memory profile" : profile.command, 90)));
    out << fmt::format("<text x=\"{}\" y=\"46\">{}</text>\n", kMargin,
                       escaped(amount_text(tree, profile.difference)));
    const std::vector<std::string> losses = loss_statement(profile);
    out << fmt::format(
        "<text class=\"about\" x=\"{}\" y=\"64\">{}</text>\n", kMargin,
        escaped(losses[0] + (losses.size() > 1 ? fmt::format(" (and {} more causes)", losses.size() - 1)
                                               : std::string())));
    out << fmt::format("<text class=\"detail\" x=\"{}\" y=\"84\"></text>\n", kMargin);
    out << "<foreignObject class=\"right\" data-right=\"210\" x=\"990\" y=\"10\" width=\"200\" height=\"26\">"
           "<input xmlns=\"http://www.w3.org/1999/xhtml\" type=\"text\" placeholder=\"search (regex)\" "
           "aria-label=\"search\"/></foreignObject>\n";
    out << "<text class=\"matched right\" data-right=\"10\" x=\"1190\" y=\"52\"></text>\n";
    out << "<g class=\"reset\" style=\"display:none\"><text class=\"right\" data-right=\"10\" x=\"1190\" "
           "y=\"70\">reset zoom</text></g>\n";
    for (const Box& box : boxes) {
        write_box(profile, tree, box, out);
    }
    if (boxes.empty()) {
        out << fmt::format("<text x=\"{}\" y=\"{}\">nothing to show</text>\n", kMargin, kHeading + kRow);
    }
    if (!boxes.empty()) {
        out << "<script><![CDATA[\n" << kFlameGraphScript << "]]></script>\n";
    }
    out << "</svg>\n";
}

}  // namespace unfreed
