// The options that report, diff and check share: which samples, which value, what to make of them.
#pragma once
#include <optional>
#include <string>

#include "userspace/report/profile.h"

namespace CLI {
class App;
}

namespace unfreed {

struct Filter;

struct FilterOptions {
    std::string focus;
    std::string ignore;
    std::string domain;
    std::optional<std::uint32_t> pid;
    std::int64_t min_age = 0;
};

struct ReportOptions {
    FilterOptions filter;
    std::string format = "text";
    std::string value = "inuse_space";
    std::optional<std::size_t> top;
    std::string output;  // empty: standard output
};

// They declare options on `app`, which are complete when the command line has been parsed.
void add_filter_options(CLI::App& app, FilterOptions& options);
void add_report_options(CLI::App& app, ReportOptions& options);

Filter make_filter(const FilterOptions& options);  // Error (2) for a regular expression that is none

// Leaves what passes; when nothing does, standard error says so in one line.
void apply_filter(const Filter& filter, Profile& profile);

// Filters the profile and writes the view that was asked for.
void write_report(Profile profile, const ReportOptions& options);

}  // namespace unfreed
