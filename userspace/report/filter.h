// Filter: which samples a view is about (report --focus, --ignore, --pid, --min-age, --domain).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "userspace/error.h"
#include "userspace/report/profile.h"

namespace unfreed {

// A POSIX extended regular expression, searched for anywhere in a text.
class Pattern {
  public:
    Pattern(const std::string& option, const std::string& expression);  // Error (2) when it is none
    bool matches(const std::string& text) const;
    const std::string& as_given() const { return as_given_; }  // "--focus REGEX"

  private:
    struct Compiled;
    std::string as_given_;
    std::shared_ptr<const Compiled> compiled_;
};

struct Filter {
    std::optional<Pattern> focus;   // some function, file or module on the path matches
    std::optional<Pattern> ignore;  // none does
    std::optional<std::uint32_t> pid;
    std::optional<std::string> domain;
    std::int64_t min_age = 0;  // seconds: allocated at least that long ago, for sure
};

// Leaves the samples that pass, in their order. When there were some and none is left: why, for the user (to
// whom an empty view may well be the answer).
std::optional<Error> apply(const Filter& filter, Profile& profile);

}  // namespace unfreed
