// The views of a profile. Each writes itself to a stream as it goes.
#pragma once
#include <cstddef>
#include <iosfwd>

#include "userspace/report/profile.h"

namespace unfreed {

struct ViewOptions {
    Value value = Value::kInuseSpace;
    std::size_t top = SIZE_MAX;  // call paths listed, the heaviest first
};

// One line per call path: its functions outermost first, separated by ';', then a space and the value
// (brendangregg.com/flamegraphs.html).
void write_folded(const Profile& profile, const ViewOptions& options, std::ostream& out);

// One object; README.md of this folder describes it.
void write_json(const Profile& profile, const ViewOptions& options, std::ostream& out);

// An interactive flame graph that needs nothing but a browser. Of a difference, what grew.
void write_flame_graph(const Profile& profile, const ViewOptions& options, std::ostream& out);

// One page: the flame graph, the heaviest call paths, the loss statement.
void write_html(const Profile& profile, const ViewOptions& options, std::ostream& out);

}  // namespace unfreed
