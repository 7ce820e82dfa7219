// What holds for every Snapshot (snapshot.h), however broken the table was that it came from.
#pragma once
#include <string>

#include "userspace/snapshot/snapshot.h"

namespace unfreed::testing {

// The first rule that `snapshot` breaks; empty: none.
inline std::string broken_rule(const Snapshot& snapshot) {
    if (snapshot.nodes.empty() || snapshot.nodes[0].caller != kNone || snapshot.nodes[0].frame != kNone)
        return "nodes[0] is the root";
    for (std::size_t i = 1; i < snapshot.nodes.size(); ++i) {
        if (snapshot.nodes[i].caller >= i) return "a caller's index is below its node's own";
        if (snapshot.nodes[i].frame >= snapshot.frames.size()) return "a node has a frame";
    }
    for (const Frame& frame : snapshot.frames) {
        if (frame.module != kNone && frame.module >= snapshot.modules.size())
            return "a frame's module exists";
        if (frame.function >= snapshot.functions.size()) return "a frame's function exists";
    }
    for (const Sample& sample : snapshot.samples) {
        if (sample.stack >= snapshot.nodes.size()) return "a sample's stack exists";
        if (sample.process >= snapshot.processes.size()) return "a sample's process exists";
        if (sample.domain >= snapshot.domains.size()) return "a sample's domain exists";
    }
    for (const LiveMapping& mapping : snapshot.mappings) {
        if (mapping.stack >= snapshot.nodes.size()) return "a mapping's stack exists";
        if (mapping.process >= snapshot.processes.size()) return "a mapping's process exists";
    }
    for (const Module& module : snapshot.modules) {
        if (module.process >= snapshot.processes.size()) return "a module's process exists";
        if (module.start >= module.end) return "a module covers something";
    }
    return {};
}

}  // namespace unfreed::testing
