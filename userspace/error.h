// The one way in which unfreed says that it cannot do something: one line, "unfreed: what: why; what to do".
#pragma once
#include <stdexcept>
#include <string>

namespace unfreed {

// Exit codes (scripts rely on them).
inline constexpr int kExitDone = 0;
inline constexpr int kExitCheckFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnfreedFailed = 125;
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

struct Error : std::runtime_error {
    Error(const std::string& what, const std::string& why, const std::string& what_to_do,
          int exit_code = kExitUnfreedFailed)
        : std::runtime_error(what + ": " + why + "; " + what_to_do), exit_code(exit_code) {}
    int exit_code;
};

}  // namespace unfreed
