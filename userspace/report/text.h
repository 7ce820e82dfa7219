// The text view: header, top call paths, a tree of common callers, the loss statement.
#pragma once
#include <cstddef>
#include <iosfwd>

#include "userspace/report/profile.h"
#include "userspace/report/report.h"

namespace unfreed {

struct TextOptions {
    Terminal terminal;
    Value value = Value::kInuseSpace;
    std::size_t top = 10;
    bool tree = true;
};
void write_text(const Profile& profile, const TextOptions& options, std::ostream& out);

// A call path, innermost frame first, `indent` columns in. On a terminal the middle of a long one is left
// out.
struct CallTree;
void write_path(const Profile& profile, const CallTree& tree, std::uint32_t leaf, std::size_t indent,
                Terminal terminal, std::ostream& out);

}  // namespace unfreed
