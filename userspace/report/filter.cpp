#include "userspace/report/filter.h"

#include <regex.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace unfreed {

struct Pattern::Compiled {
    regex_t regex{};
    ~Compiled() { regfree(&regex); }
};

Pattern::Pattern(const std::string& option, const std::string& expression)
    : as_given_(option + " " + expression) {
    auto compiled = std::make_shared<Compiled>();
    const int code = regcomp(&compiled->regex, expression.c_str(), REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        char why[200];
        regerror(code, &compiled->regex, why, sizeof why);
        throw Error(as_given_, why, "give a POSIX extended regular expression", kExitUsage);
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

// The first few of `names`, for a message.
std::string some_of(const std::set<std::string>& names) {
    constexpr std::size_t kFew = 8;
    std::string text;
    std::size_t count = 0;
    for (const std::string& name : names) {
        if (++count > kFew) {
            return text + ", ...";
        }
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

// One filter after the other, as long as something is left.
class Sieve {
  public:
    explicit Sieve(Profile& profile) : profile_(profile) {}

    // `explain(samples)`: why none of them passes, as {why, what to do}.
    template <typename Passes, typename Explain>
    void keep(const std::string& as_given, const Passes& passes, const Explain& explain) {
        if (profile_.samples.empty()) {
            return;
        }
        const auto first_dropped =
            std::stable_partition(profile_.samples.begin(), profile_.samples.end(), passes);
        if (first_dropped == profile_.samples.begin()) {
            const auto [why, what_to_do] = explain(std::as_const(profile_.samples));
            emptied = Error(as_given, why, what_to_do);
        }
        profile_.samples.erase(first_dropped, profile_.samples.end());
    }

    std::optional<Error> emptied;

  private:
    Profile& profile_;
};

}  // namespace

std::optional<Error> apply(const Filter& filter, Profile& profile) {
    using Samples = std::vector<Profile::Sample>;
    using Sample = Profile::Sample;
    using Explanation = std::pair<std::string, std::string>;
    Sieve sieve(profile);
    if (filter.pid) {
        sieve.keep(
            "--pid " + std::to_string(*filter.pid), [&](const Sample& s) { return s.pid == *filter.pid; },
            [&](const Samples& samples) {
                std::set<std::string> there;
                for (const Sample& s : samples) {
                    there.insert(std::to_string(s.pid) + " " + profile.strings[s.process]);
                }
                return Explanation{"no such process in the profile", "it has " + some_of(there)};
            });
    }
    if (filter.domain) {
        sieve.keep(
            "--domain " + *filter.domain,
            [&](const Sample& s) { return profile.strings[s.domain] == *filter.domain; },
            [&](const Samples& samples) {
                std::set<std::string> there;
                for (const Sample& s : samples) {
                    there.insert(profile.strings[s.domain]);
                }
                return Explanation{"no such memory in the profile", "it has " + some_of(there)};
            });
    }
    if (filter.min_age > 0) {
        sieve.keep(
            "--min-age " + std::to_string(filter.min_age),
            [&](const Sample& s) { return s.age >= filter.min_age; },
            [&](const Samples& samples) {
                std::int64_t oldest = 0;
                for (const Sample& s : samples) {
                    oldest = std::max(oldest, s.age);
                }
                return Explanation{"nothing is surely that old",
                                   "the oldest is " + std::to_string(oldest) + " s or more"};
            });
    }
    if (filter.focus) {
        sieve.keep(filter.focus->as_given(), PathMatcher(profile, *filter.focus), [](const Samples&) {
            return Explanation{"no function, file or module of a call path matches",
                               "the report without it has their names"};
        });
    }
    if (filter.ignore) {
        sieve.keep(
            filter.ignore->as_given(),
            [matches = PathMatcher(profile, *filter.ignore)](const Sample& s) { return !matches(s); },
            [](const Samples&) {
                return Explanation{"every call path matches", "give an expression that fewer match"};
            });
    }
    return sieve.emptied;
}

}  // namespace unfreed
