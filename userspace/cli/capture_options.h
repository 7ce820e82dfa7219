// The options that `run` and `attach` share.
#pragma once
#include <optional>
#include <string>

#include "userspace/capture/backend.h"

namespace CLI {
class App;
}

namespace unfreed {

struct CaptureOptions {
    CaptureSettings settings;
    std::string output;            // empty: default_output()
    std::string backend = "auto";  // auto, preload or ebpf
    std::optional<double> duration_seconds;
    std::optional<double> interval_seconds;
    bool quiet = false;
};

// Declares them on `app`; they are complete when the command line has been parsed.
void add_capture_options(CLI::App& app, CaptureOptions& options);

// unfreed.NAME.PID.pb.gz, in the current folder.
std::string default_output(const std::string& name, pid_t pid);

}  // namespace unfreed
