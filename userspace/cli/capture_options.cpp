#include "userspace/cli/capture_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace unfreed {
namespace {

constexpr std::uint64_t kMostSampleBytes = 1ull << 40;
constexpr std::uint32_t kMostDepth = 1u << 20;
constexpr double kLongestSeconds = 1e9;  // some thirty years

// A check that says nothing in --help.
CLI::Validator quiet(CLI::Validator check) {
    return check.description("");
}

std::pair<std::string, std::string> parse_pair(const std::string& text) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size() ||
        text.find(':', colon + 1) != std::string::npos)
        throw CLI::ValidationError("--pair", fmt::format("'{}' is not ALLOC:FREE, two symbols", text));
    return {text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace

void add_capture_options(CLI::App& app, CaptureOptions& options) {
    app.add_option("-o,--output", options.output,
                   "the profile to write; default: unfreed.NAME.PID.pb.gz in the current folder")
        ->type_name("FILE")
        ->check([](const std::string& path) { return path.empty() ? "the name is empty" : ""; });
    app.add_option("--backend", options.backend, "how to record; auto takes preload where that can work")
        ->type_name("auto|preload|ebpf")
        ->check(quiet(CLI::IsMember({"auto", "preload", "ebpf"})));
    app.add_option("--sample", options.settings.sample_bytes,
                   "mean bytes between recorded allocations (512KiB, 1MiB); 0, the default: every one")
        ->type_name("BYTES")
        ->transform(quiet(CLI::AsSizeValue(false)))
        ->check(quiet(CLI::Range(std::uint64_t{0}, kMostSampleBytes)));
    app.add_option("--duration", options.duration_seconds,
                   "stop recording then and report; the program runs on, untraced")
        ->type_name("SECONDS")
        ->check(quiet(CLI::Range(0.0, kLongestSeconds)));
    app.add_option("--interval", options.interval_seconds,
                   "also write FILE.0001, FILE.0002 ... while it runs")
        ->type_name("SECONDS")
        ->check(quiet(CLI::Range(0.01, kLongestSeconds)));
    app.add_flag_callback(
        "--no-follow", [&options] { options.settings.follow = false; },
        "only the process itself; default: its children too, over fork and exec");
    app.add_option("--depth", options.settings.depth,
                   "frames kept of each call path, from the allocation on (128)")
        ->type_name("N")
        ->check(quiet(CLI::Range(std::uint32_t{1}, kMostDepth)));
    app.add_option_function<std::vector<std::string>>(
           "--pair",
           [&options](const std::vector<std::string>& pairs) {
               options.settings.pairs.clear();
               for (const std::string& pair : pairs) options.settings.pairs.push_back(parse_pair(pair));
           },
           "one more allocator to record, by symbol (repeatable; ebpf only)")
        ->type_name("ALLOC:FREE")
        ->allow_extra_args(false);
    app.add_flag("--go-created-by", options.settings.go_created_by,
                 "end a goroutine's call path with the go statement that created it");
    app.add_flag("-q,--quiet", options.quiet, "no summary at the end");
}

std::string default_output(const std::string& name, pid_t pid) {
    const std::string base = name.substr(name.rfind('/') + 1);
    return fmt::format("unfreed.{}.{}.pb.gz", base.empty() ? "program" : base, pid);
}

}  // namespace unfreed
