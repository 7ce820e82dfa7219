#include "userspace/report/text.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "userspace/report/call_tree.h"
#include "userspace/report/comments.h"
#include "userspace/report/format.h"
#include "userspace/report/memory_text.h"

namespace unfreed {
namespace {

constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

// Of a path longer than both together, a terminal shows this many frames at its ends.
constexpr std::size_t kInnerFrames = 16;
constexpr std::size_t kOuterFrames = 4;

constexpr double kSmallestBranch = 0.01;  // of everything
constexpr std::size_t kIndent = 2;

class TextView {
  public:
    TextView(const Profile& profile, const TextOptions& options, std::ostream& out)
        : profile_(profile),
          options_(options),
          out_(out),
          tree_(build_call_tree(profile, options.value, CallTree::MergeBy::kLine)),
          in_use_(options.value == Value::kInuseObjects || options.value == Value::kInuseSpace) {}

    void write() {
        header();
        if (!profile_.difference) {
            processes();
        }
        const std::vector<std::uint32_t> paths = tree_.heaviest_paths();
        if (profile_.difference) {
            std::vector<std::uint32_t> grown;
            std::vector<std::uint32_t> shrunk;
            for (const std::uint32_t path : paths) {
                (tree_.pick(tree_.self[path]) > 0 ? grown : shrunk).push_back(path);
            }
            top_paths(grown, "that grew the most");
            top_paths(shrunk, "that shrank the most");
        } else {
            top_paths(paths, in_use_ ? "that hold the most" : "that asked for the most");
        }
        if (options_.tree && !paths.empty()) {
            common_callers(paths);
        }
        memory();
        losses();
    }

  private:
    template <typename... Args>
    void line(fmt::format_string<Args...> format, Args&&... args) {
        out_ << fmt::format(format, std::forward<Args>(args)...) << '\n';
    }
    std::string bold(const std::string& text) const {
        return options_.terminal.colour ? kBold + text + kPlain : text;
    }
    std::string signed_bytes(std::int64_t bytes) const {
        return (profile_.difference && bytes > 0 ? "+" : "") + bytes_text(bytes);
    }
    std::string signed_blocks(std::int64_t count) const {
        return (profile_.difference && count > 0 ? "+" : "") + blocks_text(count);
    }

    void header();
    void processes();
    void top_paths(const std::vector<std::uint32_t>& paths, std::string_view that);
    void common_callers(const std::vector<std::uint32_t>& paths);
    void branch(const CallTree::Children& children, std::uint32_t node, std::size_t indent);
    void memory();
    void losses();

    const Profile& profile_;
    const TextOptions& options_;
    std::ostream& out_;
    CallTree tree_;
    bool in_use_;
    std::uint64_t smallest_branch_ = 0;
    std::size_t number_width_ = 0;
};

void TextView::header() {
    if (!profile_.command.empty()) {
        line("{}", bold(fit_text(profile_.command, options_.terminal.width)));
    }
    std::string how = profile_.backend.empty() ? "" : profile_.backend + ", " + sampling_text(profile_);
    if (profile_.time_nanos != 0) {
        how += fmt::format("{}traced for {} until {}", how.empty() ? "" : ", ",
                           duration_text(profile_.duration_nanos), time_text(profile_.time_nanos));
    }
    if (!how.empty()) {
        line("{}", printable(how));
    }
    const CallTree::Weight& all = tree_.total[0];
    const std::string error = error_text(all);
    const std::string amount = signed_bytes(all.bytes) + error + (error.empty() ? "" : " (95 %)") + " in " +
                               signed_blocks(all.objects);
    const char* const kind = in_use_ ? "not freed" : "allocated";
    if (profile_.difference) {
        line("{}: {} against the profile before", kind, bold(amount));
        return;
    }
    std::int64_t ever_bytes = 0;
    std::int64_t ever_objects = 0;
    for (const Profile::Sample& sample : profile_.samples) {
        __builtin_add_overflow(ever_bytes, sample.values[static_cast<std::size_t>(Value::kAllocSpace)],
                               &ever_bytes);
        __builtin_add_overflow(ever_objects, sample.values[static_cast<std::size_t>(Value::kAllocObjects)],
                               &ever_objects);
    }
    line("{}: {}{}", kind, bold(amount),
         in_use_ && ever_objects != 0
             ? fmt::format(", of {} in {} allocated", bytes_text(ever_bytes), blocks_text(ever_objects))
             : "");
}

void TextView::processes() {
    std::map<std::pair<std::uint32_t, StringIndex>, CallTree::Weight> weights;
    const auto bytes = static_cast<std::size_t>(in_use_ ? Value::kInuseSpace : Value::kAllocSpace);
    const auto objects = static_cast<std::size_t>(in_use_ ? Value::kInuseObjects : Value::kAllocObjects);
    for (const Profile::Sample& sample : profile_.samples) {
        CallTree::Weight& weight = weights[{sample.pid, sample.process}];
        __builtin_add_overflow(weight.bytes, sample.values[bytes], &weight.bytes);
        __builtin_add_overflow(weight.objects, sample.values[objects], &weight.objects);
    }
    if (weights.size() < 2) {
        return;
    }
    std::vector<std::pair<std::pair<std::uint32_t, StringIndex>, CallTree::Weight>> list(weights.begin(),
                                                                                         weights.end());
    std::stable_sort(list.begin(), list.end(), [this](const auto& a, const auto& b) {
        return magnitude(tree_.pick(a.second)) > magnitude(tree_.pick(b.second));
    });
    line("");
    line("{} processes", list.size());
    for (std::size_t i = 0; i < std::min(list.size(), options_.top); ++i) {
        const auto& [process, weight] = list[i];
        line("  {:>10}  {:>7} {}  in {}", signed_bytes(weight.bytes), process.first,
             printable(profile_.strings[process.second]), signed_blocks(weight.objects));
    }
    if (list.size() > options_.top) {
        line("  ... and {} more", list.size() - options_.top);
    }
}

void TextView::top_paths(const std::vector<std::uint32_t>& paths, std::string_view that) {
    const std::size_t shown = std::min(paths.size(), options_.top);
    if (shown == 0) {
        return;
    }
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < shown; ++i) {
        __builtin_add_overflow(sum, tree_.pick(tree_.self[paths[i]]), &sum);
    }
    const std::int64_t whole = profile_.difference ? 0 : tree_.pick(tree_.total[0]);
    line("");
    line("{}", bold(fmt::format("{} of {} call paths {}{}", shown,
                                count_text(static_cast<std::int64_t>(paths.size())), that,
                                whole == 0 ? "" : ": " + share_text(sum, whole) + " of it")));
    for (std::size_t i = 0; i < shown; ++i) {
        const CallTree::Weight& self = tree_.self[paths[i]];
        std::string facts = fmt::format("{}{} in {}", bold(signed_bytes(self.bytes)), error_text(self),
                                        signed_blocks(self.objects));
        for (const std::string& more :
             {share_text(tree_.pick(self), whole),
              in_use_ && !profile_.difference ? age_text(tree_.ages[paths[i]]) : std::string()}) {
            facts += more.empty() ? "" : ", " + more;
        }
        line("");
        line("#{} {}", i + 1, facts);
        write_path(profile_, tree_, paths[i], 2 * kIndent, options_.terminal, out_);
    }
}

void TextView::common_callers(const std::vector<std::uint32_t>& paths) {
    std::uint64_t moved = 0;  // a difference's whole is what changed, in either direction
    for (const std::uint32_t path : paths) {
        moved += magnitude(tree_.pick(tree_.self[path]));
    }
    smallest_branch_ = static_cast<std::uint64_t>(static_cast<double>(moved) * kSmallestBranch);
    number_width_ = profile_.difference ? 11 : 20;
    line("");
    line("{}", bold("Common callers, outermost first (branches under 1 % are left out)"));
    line("");
    branch(tree_.children(), 0, 0);
}

// The branches below `node`. A caller with one callee that carries all of it continues in the same column.
void TextView::branch(const CallTree::Children& children, std::uint32_t root, std::size_t root_indent) {
    struct Open {
        std::uint32_t node;
        std::size_t indent;
        bool continues;  // its numbers are those of the line above
    };
    std::vector<Open> open{{root, root_indent, false}};
    const std::int64_t whole = profile_.difference ? 0 : tree_.pick(tree_.total[0]);
    while (!open.empty()) {
        const auto [node, indent, continues] = open.back();
        open.pop_back();
        if (node != root) {
            std::string numbers;
            if (!continues) {
                const std::int64_t value = tree_.pick(tree_.total[node]);
                const bool in_bytes = tree_.value == Value::kInuseSpace || tree_.value == Value::kAllocSpace;
                numbers = in_bytes ? signed_bytes(value)
                                   : (profile_.difference && value > 0 ? "+" : "") + count_text(value);
                numbers = fmt::format("{:>11}", numbers);
                numbers += whole == 0 ? "" : fmt::format(" {:>8}", share_text(value, whole));
            }
            const std::size_t width = options_.terminal.width;
            const std::size_t column =
                number_width_ + 2 +
                (width == 0 ? indent : std::min(indent, width / 2 - std::min(width / 2, number_width_)));
            const FrameText frame = fit_frame(profile_, tree_.frames[tree_.nodes[node].location],
                                              width == 0 ? 0 : width - std::min(width - 1, column));
            out_ << fmt::format("{:<{}}", numbers, column) << frame.function;
            if (!frame.source.empty()) {
                out_ << (options_.terminal.colour ? kDim : "") << "  " << frame.source
                     << (options_.terminal.colour ? kPlain : "");
            }
            out_ << '\n';
        }
        std::vector<std::uint32_t> shown;
        for (std::uint32_t i = children.first[node]; i < children.first[node + 1]; ++i) {
            const std::uint32_t child = children.nodes[i];
            if (const std::int64_t value = tree_.pick(tree_.total[child]);
                value != 0 && magnitude(value) >= smallest_branch_) {
                shown.push_back(child);
            }
        }
        const bool chain = node != root && shown.size() == 1 &&
                           tree_.pick(tree_.total[shown[0]]) == tree_.pick(tree_.total[node]);
        for (std::size_t i = shown.size(); i-- > 0;) {
            open.push_back({shown[i], node == root || chain ? indent : indent + kIndent, chain});
        }
    }
}

void TextView::memory() {
    const MemoryTable& table = profile_.memory;
    if (table.rows.empty() && table.notes.empty()) {
        return;
    }
    line("");
    if (!table.rows.empty()) {
        out_ << bold("Where the memory is: ");
    }
    write_memory(table, out_);
}

void TextView::losses() {
    line("");
    const std::vector<std::string> statement = loss_statement(profile_);
    if (profile_.losses && !profile_.losses->empty()) {
        line("{}", bold("What is missing from these numbers"));
        for (const std::string& loss : statement) {
            line("  {}", printable(loss));
        }
    } else {
        line("{}", statement[0]);
    }
    for (const std::string& note : profile_.notes) {
        line("note: {}", printable(note));
    }
}

}  // namespace

void write_path(const Profile& profile, const CallTree& tree, std::uint32_t leaf, std::size_t indent,
                Terminal terminal, std::ostream& out) {
    std::vector<std::uint32_t> path;
    for (std::uint32_t node = leaf; node != 0; node = tree.nodes[node].caller) {
        path.push_back(tree.nodes[node].location);
    }
    const std::string margin(indent, ' ');
    const std::size_t width = terminal.width > indent ? terminal.width - indent : 0;
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (terminal.width != 0 && i == kInnerFrames && path.size() > kInnerFrames + kOuterFrames + 1) {
            out << margin << fmt::format("... {} more\n", path.size() - kInnerFrames - kOuterFrames);
            i = path.size() - kOuterFrames;
        }
        const FrameText frame = fit_frame(profile, tree.frames[path[i]], width);
        out << margin << frame.function;
        if (!frame.source.empty()) {
            out << (terminal.colour ? kDim : "") << "  " << frame.source << (terminal.colour ? kPlain : "");
        }
        out << '\n';
    }
}

void write_text(const Profile& profile, const TextOptions& options, std::ostream& out) {
    TextView(profile, options, out).write();
    out.flush();
}

void print_summary(const Profile& profile, std::ostream& out, Terminal terminal, std::size_t top) {
    TextOptions options;
    options.terminal = terminal;
    options.top = top;
    options.tree = false;
    write_text(profile, options, out);
}

Terminal terminal_of(int descriptor) {
    winsize size{};
    if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0) {
        return {};
    }
    const char* const no_colour = std::getenv("NO_COLOR");  // no-color.org
    return {size.ws_col == 0 ? std::size_t{80} : size.ws_col, no_colour == nullptr || *no_colour == '\0'};
}

}  // namespace unfreed
