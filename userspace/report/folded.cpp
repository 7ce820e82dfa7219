#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "userspace/report/call_tree.h"
#include "userspace/report/format.h"
#include "userspace/report/views.h"

namespace unfreed {

void write_folded(const Profile& profile, const ViewOptions& options, std::ostream& out) {
    const CallTree tree = build_call_tree(profile, options.value, CallTree::MergeBy::kFunction);
    std::vector<std::string> names;
    for (const CallTree::Frame& frame : tree.frames) {
        std::string& name = names.emplace_back(printable(profile.strings[frame.function]));
        std::replace(name.begin(), name.end(), ';', ':');
    }
    std::vector<std::uint32_t> paths = tree.heaviest_paths();
    paths.resize(std::min(paths.size(), options.top));
    std::vector<std::uint32_t> path;
    for (const std::uint32_t leaf : paths) {
        path.clear();
        for (std::uint32_t node = leaf; node != 0; node = tree.nodes[node].caller) {
            path.push_back(tree.nodes[node].location);
        }
        for (std::size_t i = path.size(); i-- > 0;) {
            out << names[path[i]] << (i == 0 ? ' ' : ';');
        }
        out << tree.pick(tree.self[leaf]) << '\n';
    }
}

}  // namespace unfreed
