// unfreed check: whether a profile keeps to its limits, for scripts. Limits are on the sum of what the
// filters leave; when one is broken, the call paths that broke it are printed and the exit code is 1.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "userspace/cli/commands.h"
#include "userspace/cli/report_options.h"
#include "userspace/error.h"
#include "userspace/report/difference.h"
#include "userspace/report/filter.h"
#include "userspace/report/format.h"
#include "userspace/report/output_file.h"
#include "userspace/report/report.h"
#include "userspace/report/text.h"

namespace unfreed {
namespace {

struct CheckOptions {
    FilterOptions filter;
    std::optional<std::int64_t> max_bytes;
    std::optional<std::int64_t> max_blocks;
    std::optional<std::int64_t> max_growth;
    std::string baseline;
    std::string profile;
    std::size_t top = 5;
};

CallTree::Weight in_use(const Profile& profile) {
    CallTree::Weight sum;
    for (const Profile::Sample& sample : profile.samples) {
        sum.bytes += sample.values[static_cast<std::size_t>(Value::kInuseSpace)];
        sum.objects += sample.values[static_cast<std::size_t>(Value::kInuseObjects)];
    }
    return sum;
}

// Exact, unlike bytes_text(): a limit is broken by one byte.
std::string exact_bytes(std::int64_t bytes) {
    return count_text(bytes) + " bytes";
}

class Check {
  public:
    explicit Check(const CheckOptions& options) : options_(options), file_(STDOUT_FILENO), out_(file_) {}

    int run() {
        const Filter filter = make_filter(options_.filter);
        Profile profile = read_pprof(options_.profile);
        apply_filter(filter, profile);
        const CallTree::Weight now = in_use(profile);
        const bool bytes = limit("not freed", now.bytes, options_.max_bytes, exact_bytes);
        const bool blocks = limit("not freed", now.objects, options_.max_blocks, blocks_text);
        if (!bytes || !blocks) {
            guilty(profile, bytes ? Value::kInuseObjects : Value::kInuseSpace);
        }
        if (!options_.baseline.empty()) {
            Profile before = read_pprof(options_.baseline);
            apply_filter(filter, before);
            const std::int64_t growth = now.bytes - in_use(before).bytes;
            if (!limit("grew by", growth, options_.max_growth.value_or(0), exact_bytes)) {
                guilty(difference(std::move(before), std::move(profile)), Value::kInuseSpace);
            }
        }
        out_.flush();
        return broken_ ? kExitCheckFailed : kExitDone;
    }

  private:
    bool limit(const char* what, std::int64_t value, std::optional<std::int64_t> most,
               std::string (*text)(std::int64_t)) {
        if (!most) {
            return true;
        }
        const bool kept = value <= *most;
        out_ << fmt::format("{}: {} {}, limit {}\n", kept ? "kept" : "broken", what, text(value),
                            text(*most));
        broken_ = broken_ || !kept;
        return kept;
    }
    void guilty(const Profile& profile, Value value) {
        TextOptions text;
        text.value = value;
        text.top = options_.top;
        text.terminal = terminal_of(STDOUT_FILENO);
        text.tree = false;
        out_ << '\n';
        write_text(profile, text, out_);
    }

    const CheckOptions& options_;
    OutputFile file_;
    OutputStream out_;
    bool broken_ = false;
};

}  // namespace

void add_check_command(CLI::App& app, Verb& chosen) {
    auto options = std::make_shared<CheckOptions>();
    CLI::App* const verb = app.add_subcommand("check", "exit with 1 when a profile breaks a limit");
    verb->add_option("PROFILE", options->profile, "a file in pprof's format")->required();
    const auto size = [verb](const char* name, std::optional<std::int64_t>& value, const char* what) {
        return verb->add_option(name, value, what)
            ->type_name("SIZE")
            ->transform(CLI::AsSizeValue(false))
            ->check(CLI::NonNegativeNumber);
    };
    size("--max-bytes", options->max_bytes, "at most that much is not freed (10MiB)");
    verb->add_option("--max-blocks", options->max_blocks, "at most that many blocks are not freed")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber);
    CLI::Option* const baseline = verb->add_option("--baseline", options->baseline,
                                                   "an earlier profile: the memory must not have grown since")
                                      ->type_name("BEFORE");
    size("--max-growth", options->max_growth, "with --baseline: by no more than that")->needs(baseline);
    verb->add_option("--top", options->top, "guilty call paths to list; default: 5")
        ->type_name("N")
        ->check(CLI::Range(1, 1'000'000'000).description(""));
    add_filter_options(*verb, options->filter);
    verb->callback([options, &chosen] {
        chosen = [options] {
            if (!options->max_bytes && !options->max_blocks && options->baseline.empty()) {
                throw Error("check", "no limit is given", "give --max-bytes, --max-blocks or --baseline",
                            kExitUsage);
            }
            return Check(*options).run();
        };
    });
}

}  // namespace unfreed
