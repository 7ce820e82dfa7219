#include "userspace/report/call_tree.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "userspace/report/path_tree.h"

namespace unfreed {
namespace {

class Builder {
  public:
    Builder(const Profile& profile, CallTree& tree, CallTree::MergeBy merge_by)
        : profile_(profile), tree_(tree), paths_(tree.nodes), merge_by_(merge_by) {
        name_lines();
        map_nodes();
    }

    // What the blocks serve, where that is known, is the innermost frame.
    std::uint32_t path_of(const Profile::Sample& sample) {
        const std::uint32_t leaf = leaf_of(sample);
        return sample.shape == 0 ? leaf : paths_.child(leaf, frame_of_shape(sample.shape));
    }

  private:
    std::uint32_t leaf_of(const Profile::Sample& sample) {
        if (sample.frames == Profile::kAllFrames) {
            return node_of_[sample.leaf];
        }
        cut_path_.clear();
        for (std::uint32_t node = sample.leaf; node != 0 && cut_path_.size() < sample.frames;
             node = profile_.nodes[node].caller) {
            cut_path_.push_back(profile_.nodes[node].location);
        }
        std::uint32_t node = 0;
        for (std::size_t i = cut_path_.size(); i-- > 0;) {
            node = below(node, cut_path_[i]);
        }
        return node;
    }

    std::uint32_t frame_of_shape(StringIndex shape) {
        const auto [entry, is_new] =
            frame_of_shape_.emplace(shape, static_cast<std::uint32_t>(tree_.frames.size()));
        if (is_new) {
            tree_.frames.push_back({shape, 0, 0, 0});
        }
        return entry->second;
    }

    // frame_of_[l]: the frame that line l of the profile shows as.
    void name_lines() {
        // What is one frame: the same function at the same line. Where the source is not known the module
        // stands for it, since many programs have a `_start` or a `main`.
        using Key = std::tuple<StringIndex, StringIndex, std::int64_t, StringIndex>;
        struct Hash {
            std::size_t operator()(const Key& key) const {
                const auto& [function, file, line, module] = key;
                return (((std::size_t{function} * 31 + file) * 31 + static_cast<std::size_t>(line)) * 31 +
                        module) *
                       0x9e3779b97f4a7c15u;
            }
        };
        std::unordered_map<Key, std::uint32_t, Hash> known;
        frame_of_.resize(profile_.lines.size());
        for (const Profile::Location& location : profile_.locations) {
            const StringIndex module =
                location.mapping == Profile::kNoMapping ? 0 : profile_.mappings[location.mapping].file;
            for (std::uint32_t l = location.first_line; l < location.first_line + location.line_count; ++l) {
                const Profile::Line& line = profile_.lines[l];
                const Profile::Function& function = profile_.functions[line.function];
                CallTree::Frame frame{function.name, function.file, line.line, module};
                if (merge_by_ == CallTree::MergeBy::kFunction) {
                    frame.file = 0;
                    frame.line = 0;
                }
                const auto next = static_cast<std::uint32_t>(tree_.frames.size());
                const auto [entry, is_new] = known.emplace(
                    Key(frame.function, frame.file, frame.line, function.file == 0 ? module : 0), next);
                if (is_new) {
                    tree_.frames.push_back(frame);
                }
                frame_of_[l] = entry->second;
            }
        }
    }

    // Only nodes that some sample goes through: a filter may have left a few of many.
    void map_nodes() {
        std::vector<bool> used(profile_.nodes.size());
        for (const Profile::Sample& sample : profile_.samples) {
            if (sample.frames == Profile::kAllFrames) {
                used[sample.leaf] = true;
            }
        }
        for (std::size_t i = profile_.nodes.size(); i-- > 1;) {
            if (used[i]) {
                used[profile_.nodes[i].caller] = true;
            }
        }
        node_of_.resize(profile_.nodes.size(), 0);
        for (std::uint32_t i = 1; i < profile_.nodes.size(); ++i) {
            if (used[i]) {
                node_of_[i] = below(node_of_[profile_.nodes[i].caller], profile_.nodes[i].location);
            }
        }
    }

    // The node of `location` called by `node`: one step per inlined frame, outermost first.
    std::uint32_t below(std::uint32_t node, std::uint32_t location) {
        const Profile::Location& l = profile_.locations[location];
        for (std::uint32_t i = l.line_count; i-- > 0;) {
            node = paths_.child(node, frame_of_[l.first_line + i]);
        }
        return node;
    }

    const Profile& profile_;
    CallTree& tree_;
    PathTree paths_;
    CallTree::MergeBy merge_by_;
    std::vector<std::uint32_t> frame_of_;
    std::unordered_map<StringIndex, std::uint32_t> frame_of_shape_;
    std::vector<std::uint32_t> node_of_;
    std::vector<std::uint32_t> cut_path_;
};

// A damaged profile's values may overflow: they wrap around then.
void add(CallTree::Weight& to, const CallTree::Weight& weight) {
    __builtin_add_overflow(to.bytes, weight.bytes, &to.bytes);
    __builtin_add_overflow(to.objects, weight.objects, &to.objects);
    to.variance += weight.variance;
}

void add_age(CallTree::Ages& ages, std::int64_t age) {
    if (age == Profile::kNoAge) {
        return;
    }
    ages.youngest = ages.youngest == Profile::kNoAge ? age : std::min(ages.youngest, age);
    ages.oldest = std::max(ages.oldest, age);
}

}  // namespace

std::uint64_t magnitude(std::int64_t value) {
    return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

CallTree build_call_tree(const Profile& profile, Value value, CallTree::MergeBy merge_by, bool growth_only) {
    const bool in_use = value == Value::kInuseObjects || value == Value::kInuseSpace;
    const auto objects = static_cast<std::size_t>(in_use ? Value::kInuseObjects : Value::kAllocObjects);
    const auto bytes = static_cast<std::size_t>(in_use ? Value::kInuseSpace : Value::kAllocSpace);
    CallTree tree;
    tree.value = value;
    {
        Builder builder(profile, tree, merge_by);
        for (const Profile::Sample& sample : profile.samples) {
            const auto error = static_cast<double>(sample.error);
            const CallTree::Weight weight{sample.values[bytes], sample.values[objects],
                                          in_use ? error * error : 0};
            if (weight.bytes == 0 && weight.objects == 0) {
                continue;
            }
            const std::uint32_t node = builder.path_of(sample);
            tree.self.resize(tree.nodes.size());
            tree.ages.resize(tree.nodes.size());
            add(tree.self[node], weight);
            add_age(tree.ages[node], sample.age);
        }
    }
    tree.self.resize(tree.nodes.size());
    tree.ages.resize(tree.nodes.size());
    if (growth_only) {
        for (CallTree::Weight& weight : tree.self) {
            weight = tree.pick(weight) > 0 ? weight : CallTree::Weight{};
        }
    }
    tree.total = tree.self;
    for (std::size_t i = tree.nodes.size(); i-- > 1;) {
        add(tree.total[tree.nodes[i].caller], tree.total[i]);
    }
    return tree;
}

CallTree::Children CallTree::children() const {
    Children children;
    children.first.assign(nodes.size() + 1, 0);
    for (std::size_t i = 1; i < nodes.size(); ++i) {
        ++children.first[nodes[i].caller + 1];
    }
    for (std::size_t i = 1; i < children.first.size(); ++i) {
        children.first[i] += children.first[i - 1];
    }
    children.nodes.resize(nodes.size() - 1);
    std::vector<std::uint32_t> next(children.first.begin(), children.first.end() - 1);
    for (std::uint32_t i = 1; i < nodes.size(); ++i) {
        children.nodes[next[nodes[i].caller]++] = i;
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        std::stable_sort(children.nodes.begin() + children.first[i],
                         children.nodes.begin() + children.first[i + 1],
                         [this](std::uint32_t a, std::uint32_t b) {
                             return magnitude(pick(total[a])) > magnitude(pick(total[b]));
                         });
    }
    return children;
}

std::vector<std::uint32_t> CallTree::heaviest_paths() const {
    std::vector<std::uint32_t> paths;
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
        if (pick(self[i]) != 0) {
            paths.push_back(i);
        }
    }
    std::stable_sort(paths.begin(), paths.end(), [this](std::uint32_t a, std::uint32_t b) {
        return magnitude(pick(self[a])) > magnitude(pick(self[b]));
    });
    return paths;
}

}  // namespace unfreed
