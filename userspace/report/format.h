// Numbers, times and names as people read them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "userspace/report/call_tree.h"
#include "userspace/report/profile.h"

namespace unfreed {

std::string bytes_text(std::int64_t bytes);  // "1.2 MiB", "-17 B"
// " ± 1.2 MiB" for bytes that are an estimate: in 95 of 100 runs the truth is no further away. Else empty.
std::string error_text(const CallTree::Weight& weight);
std::string count_text(std::int64_t count);                     // "1,234,567"
std::string blocks_text(std::int64_t count);                    // "1 block", "1,234 blocks"
std::string share_text(std::int64_t part, std::int64_t whole);  // "12.3 %"; empty when there is no whole
std::string seconds_text(std::int64_t seconds);    // "10 s", "1 min", "6 h", "2 d": a bound of an age bucket
std::string age_text(const CallTree::Ages& ages);  // "10 s to 1 min old"; empty when not known
std::string duration_text(std::int64_t nanos);     // "3.21 s"
std::string time_text(std::int64_t unix_nanos);    // "2026-11-21 12:45:39", local time

// One line of valid UTF-8 that neither a terminal nor an XML reader can be harmed by: everything else becomes
// '?'.
std::string printable(std::string_view text);

// A text in at most `width` columns (0: any): its middle goes.
std::string fit_text(std::string_view text, std::size_t width);

// A function's short_name() in at most `width` columns (0: any): first its lists of template arguments and
// parameters become shorter, then its middle goes.
std::string fit_name(std::string_view name, std::size_t width);

// "src/io.c:41"; "[libfoo.so]" for a function whose file is not known; empty for neither.
std::string source_text(const Profile& profile, const CallTree::Frame& frame);

// "function  src/io.c:41" in at most `width` columns (0: any): the file's folders go first.
struct FrameText {
    std::string function;
    std::string source;
};
FrameText fit_frame(const Profile& profile, const CallTree::Frame& frame, std::size_t width);

}  // namespace unfreed
