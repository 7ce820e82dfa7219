#include "userspace/cli/report_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "userspace/error.h"
#include "userspace/report/filter.h"
#include "userspace/report/output_file.h"
#include "userspace/report/pprof_fields.h"
#include "userspace/report/report.h"
#include "userspace/report/text.h"
#include "userspace/report/views.h"

namespace unfreed {
namespace {

constexpr std::size_t kDefaultTop = 10;  // of the text view; the others show every call path

Value value_named(const std::string& name) {
    std::size_t value = 0;
    while (value + 1 < kValues && name != pprof::kSampleTypes[value][0]) {
        ++value;
    }
    return static_cast<Value>(value);
}

void write_pprof_view(const Profile& profile, const std::string& output) {
    if (!output.empty()) {
        write_pprof(profile, output);
        return;
    }
    if (isatty(STDOUT_FILENO) != 0) {
        throw Error("--format pprof", "a terminal cannot show it", "give -o FILE", kExitUsage);
    }
    write_pprof(profile, STDOUT_FILENO);
}

}  // namespace

void add_filter_options(CLI::App& app, FilterOptions& options) {
    app.add_option("--focus", options.focus, "only call paths with a function, file or module that matches")
        ->type_name("REGEX");
    app.add_option("--ignore", options.ignore,
                   "only call paths without a function, file or module that matches")
        ->type_name("REGEX");
    app.add_option("--pid", options.pid, "only that process")->type_name("PID");
    app.add_option("--min-age", options.min_age, "only what was allocated at least that long before the end")
        ->type_name("SECONDS")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--domain", options.domain,
                   "only that kind of memory: malloc, mmap, opencv, a --pair's name")
        ->type_name("NAME");
}

void add_report_options(CLI::App& app, ReportOptions& options) {
    app.add_option("--format", options.format, "what to make of it; default: text")
        ->type_name("text|folded|svg|html|json|pprof")
        ->check(CLI::IsMember({"text", "folded", "svg", "html", "json", "pprof"}));
    app.add_option("--value", options.value, "what to rank by; default: inuse_space")
        ->type_name("inuse_space|inuse_objects|alloc_space|alloc_objects")
        ->check(CLI::IsMember({"inuse_space", "inuse_objects", "alloc_space", "alloc_objects"}));
    app.add_option("--top", options.top, "call paths to list; default: 10 in text, all elsewhere")
        ->type_name("N")
        ->check(CLI::Range(1, 1'000'000'000).description(""));
    app.add_option("-o,--output", options.output, "where to write; default: standard output")
        ->type_name("FILE");
    add_filter_options(app, options.filter);
}

Filter make_filter(const FilterOptions& options) {
    Filter filter;
    if (!options.focus.empty()) {
        filter.focus.emplace("--focus", options.focus);
    }
    if (!options.ignore.empty()) {
        filter.ignore.emplace("--ignore", options.ignore);
    }
    if (!options.domain.empty()) {
        filter.domain = options.domain;
    }
    filter.pid = options.pid;
    filter.min_age = options.min_age;
    return filter;
}

void apply_filter(const Filter& filter, Profile& profile) {
    if (const std::optional<Error> emptied = apply(filter, profile)) {
        std::fprintf(stderr, "unfreed: %s\n", emptied->what());
    }
}

void write_report(Profile profile, const ReportOptions& options) {
    if (!options.output.empty()) std::signal(SIGXFSZ, SIG_IGN);  // a full quota is an error to report
    apply_filter(make_filter(options.filter), profile);
    if (options.format == "pprof") {
        write_pprof_view(profile, options.output);
        return;
    }
    OutputFile file = options.output.empty() ? OutputFile(STDOUT_FILENO) : OutputFile(options.output);
    OutputStream out(file);
    const ViewOptions view{value_named(options.value), options.top.value_or(SIZE_MAX)};
    if (options.format == "folded") {
        write_folded(profile, view, out);
    } else if (options.format == "json") {
        write_json(profile, view, out);
    } else if (options.format == "svg") {
        write_flame_graph(profile, view, out);
    } else if (options.format == "html") {
        write_html(profile, view, out);
    } else {
        TextOptions text;
        text.terminal = options.output.empty() ? terminal_of(STDOUT_FILENO) : Terminal{};
        text.value = view.value;
        text.top = options.top.value_or(kDefaultTop);
        write_text(profile, text, out);
    }
    out.flush();
    file.commit();
}

}  // namespace unfreed
