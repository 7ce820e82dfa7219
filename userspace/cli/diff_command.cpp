// unfreed diff: what grew and what shrank from one profile to a later one, by call path.
#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/report_options.h"
#include "userspace/error.h"
#include "userspace/report/difference.h"
#include "userspace/report/filter.h"
#include "userspace/report/report.h"

namespace unfreed {

void add_diff_command(CLI::App& app, Verb& chosen) {
    struct Options {
        ReportOptions report;
        std::string before;
        std::string after;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const verb = app.add_subcommand("diff", "show what grew from one profile to a later one");
    verb->add_option("BEFORE", options->before, "the earlier profile")->required();
    verb->add_option("AFTER", options->after, "the later profile")->required();
    add_report_options(*verb, options->report);
    verb->callback([options, &chosen] {
        chosen = [options] {
            make_filter(options->report.filter);
            Profile before = read_pprof(options->before);
            write_report(difference(std::move(before), read_pprof(options->after)), options->report);
            return kExitDone;
        };
    });
}

}  // namespace unfreed
