// unfreed report: a profile in one of its views.
#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/report_options.h"
#include "userspace/error.h"
#include "userspace/report/filter.h"
#include "userspace/report/report.h"

namespace unfreed {

void add_report_command(CLI::App& app, Verb& chosen) {
    struct Options {
        ReportOptions report;
        std::string profile;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const verb = app.add_subcommand("report", "show a profile");
    verb->add_option("PROFILE", options->profile, "a file in pprof's format")->required();
    add_report_options(*verb, options->report);
    verb->callback([options, &chosen] {
        chosen = [options] {
            make_filter(options->report.filter);  // what is wrong with it is said before any file is read
            write_report(read_pprof(options->profile), options->report);
            return kExitDone;
        };
    });
}

}  // namespace unfreed
