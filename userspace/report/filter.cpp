#include "userspace/report/filter.h"

#include <regex.h>

#include <algorithm>
#include <vector>

#include "userspace/error.h"

namespace unfreed {

struct Pattern::Compiled {
    regex_t regex{};
    ~Compiled() { regfree(&regex); }
};

Pattern::Pattern(const std::string& option, const std::string& expression) {
    auto compiled = std::make_shared<Compiled>();
    const int code = regcomp(&compiled->regex, expression.c_str(), REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        char why[200];
        regerror(code, &compiled->regex, why, sizeof why);
        throw Error(option + " " + expression, why, "give a POSIX extended regular expression", kExitUsage);
    }
    compiled_ = std::move(compiled);
}

bool Pattern::matches(const std::string& text) const {
    return regexec(&compiled_->regex, text.c_str(), 0, nullptr, 0) == 0;
}

namespace {

// Whether a location has a line or a module that matches, by location.
std::vector<bool> matching_locations(const Profile& profile, const Pattern& pattern) {
    std::vector<bool> functions;
    for (const Profile::Function& function : profile.functions) {
        functions.push_back(pattern.matches(profile.strings[function.name]) ||
                            pattern.matches(profile.strings[function.file]));
    }
    std::vector<bool> mappings;
    for (const Profile::Mapping& mapping : profile.mappings) {
        mappings.push_back(pattern.matches(profile.strings[mapping.file]));
    }
    std::vector<bool> locations;
    for (const Profile::Location& location : profile.locations) {
        bool matches = location.mapping != Profile::kNoMapping && mappings[location.mapping];
        for (std::uint32_t i = 0; i < location.line_count && !matches; ++i) {
            matches = functions[profile.lines[location.first_line + i].function];
        }
        locations.push_back(matches);
    }
    return locations;
}

// Whether the path of each sample goes through a location that matches.
class PathMatcher {
  public:
    PathMatcher(const Profile& profile, const Pattern& pattern)
        : profile_(profile),
          pattern_(pattern),
          locations_(matching_locations(profile, pattern)),
          nodes_(profile.nodes.size()) {
        for (std::uint32_t i = 1; i < nodes_.size(); ++i) {
            nodes_[i] = nodes_[profile.nodes[i].caller] || locations_[profile.nodes[i].location];
        }
    }
    bool operator()(const Profile::Sample& sample) const {
        if (sample.shape != 0 && pattern_.matches(profile_.strings[sample.shape])) {
            return true;
        }
        if (sample.frames == Profile::kAllFrames || !nodes_[sample.leaf]) {
            return nodes_[sample.leaf];
        }
        std::uint32_t node = sample.leaf;
        for (std::uint32_t i = 0; node != 0 && i < sample.frames; node = profile_.nodes[node].caller, ++i) {
            if (locations_[profile_.nodes[node].location]) {
                return true;
            }
        }
        return false;
    }

  private:
    const Profile& profile_;
    Pattern pattern_;
    std::vector<bool> locations_;
    std::vector<bool> nodes_;
};

}  // namespace

void apply(const Filter& filter, Profile& profile) {
    const auto keep = [&profile](const auto& passes) {
        std::erase_if(profile.samples, [&](const Profile::Sample& sample) { return !passes(sample); });
    };
    if (filter.pid) {
        keep([&](const Profile::Sample& sample) { return sample.pid == *filter.pid; });
    }
    if (filter.domain) {
        keep([&](const Profile::Sample& s) { return profile.strings[s.domain] == *filter.domain; });
    }
    if (filter.min_age > 0) {
        keep([&](const Profile::Sample& sample) { return sample.age >= filter.min_age; });
    }
    if (filter.focus) {
        keep(PathMatcher(profile, *filter.focus));
    }
    if (filter.ignore) {
        keep([matches = PathMatcher(profile, *filter.ignore)](const auto& sample) {
            return !matches(sample);
        });
    }
}

}  // namespace unfreed
