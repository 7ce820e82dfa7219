#include "userspace/cli/progress.h"

#include <unistd.h>

#include "userspace/cli/say.h"

namespace unfreed {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::chrono::milliseconds kBetween{100};
constexpr const char* kClearLine = "\r\033[K";

}  // namespace

ProgressLine::ProgressLine()
    : terminal_(isatty(STDERR_FILENO) == 1), started_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
    if (visible_) say("{}", kClearLine);
}

void ProgressLine::show(const std::string& what, std::size_t done, std::size_t all) {
    if (!terminal_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - started_ < kPatience || now - shown_ < kBetween) return;
    shown_ = now;
    visible_ = true;
    say("{}unfreed: naming functions, {} of {}: {:.60}", kClearLine, done, all, what);
}

}  // namespace unfreed
