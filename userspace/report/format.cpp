#include "userspace/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "userspace/snapshot/age_bucket.h"

namespace unfreed {
namespace {

constexpr std::size_t kShortestName = 16;  // shorter than that, a name says nothing

// Replaces what stands between the outermost pairs of `open` and `close` by nothing: foo<int>(long) ->
// foo<>(long). Operators that are made of these characters (operator<, operator->, operator()) are left
// alone.
std::string without(std::string_view name, char open, char close) {
    std::string kept;
    int depth = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        constexpr std::string_view kOperator = "operator";
        if (depth == 0 && name.substr(i).starts_with(kOperator)) {
            std::size_t end = i + kOperator.size();
            end = name.substr(end).starts_with("()")
                      ? end + 2
                      : std::min(name.find_first_not_of("<>=-", end), name.size());
            kept += name.substr(i, end - i);
            i = end - 1;
            continue;
        }
        if (name[i] == close && depth > 0) {
            --depth;
        }
        if (depth == 0) {
            kept += name[i];
        }
        if (name[i] == open) {
            ++depth;
        }
    }
    return depth == 0 ? kept : std::string(name);
}

bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// In columns: UTF-8's continuation bytes take none.
std::size_t columns(std::string_view text) {
    return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

std::string without_middle(std::string_view name, std::size_t width) {
    std::size_t head = (width - 3) * 2 / 3;
    std::size_t tail = name.size() - (width - 3 - head);
    while (head > 0 && is_continuation(name[head])) {
        --head;
    }
    while (tail < name.size() && is_continuation(name[tail])) {
        ++tail;
    }
    return std::string(name.substr(0, head)) + "..." + std::string(name.substr(tail));
}

}  // namespace

std::string bytes_text(std::int64_t bytes) {
    constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    auto size = static_cast<double>(magnitude(bytes));
    const char* const sign = bytes < 0 ? "-" : "";
    if (size < 1024) {
        return fmt::format("{}{} B", sign, size);
    }
    std::size_t unit = 0;
    for (size /= 1024; size >= 1023.95 && unit + 1 < std::size(kUnits); size /= 1024) {
        ++unit;
    }
    return fmt::format("{}{:.1f} {}", sign, size, kUnits[unit]);
}

std::string count_text(std::int64_t count) {
    std::string text = std::to_string(magnitude(count));
    for (std::size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, ",");
    }
    return count < 0 ? "-" + text : text;
}

std::string blocks_text(std::int64_t count) {
    return count_text(count) + (magnitude(count) == 1 ? " block" : " blocks");
}

std::string share_text(std::int64_t part, std::int64_t whole) {
    return whole == 0
               ? ""
               : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string seconds_text(std::int64_t seconds) {
    constexpr std::pair<std::int64_t, const char*> kUnits[] = {
        {86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    for (const auto& [size, unit] : kUnits) {
        if (seconds >= size && seconds % size == 0) {
            return fmt::format("{} {}", seconds / size, unit);
        }
    }
    return fmt::format("{} s", seconds);
}

std::string age_text(const CallTree::Ages& ages) {
    if (ages.oldest == Profile::kNoAge) {
        return "";
    }
    const std::uint32_t end = age_bucket_end(static_cast<std::uint64_t>(ages.oldest));
    if (end == 0) {
        return "over " + seconds_text(ages.youngest) + " old";
    }
    return ages.youngest == 0 ? "under " + seconds_text(end) + " old"
                              : fmt::format("{} to {} old", seconds_text(ages.youngest), seconds_text(end));
}

std::string duration_text(std::int64_t nanos) {
    const double seconds = static_cast<double>(nanos) / 1e9;
    if (seconds < 60) {
        return fmt::format("{:.2f} s", seconds);
    }
    const std::int64_t whole = nanos / 1'000'000'000;
    return whole < 3600 ? fmt::format("{} min {} s", whole / 60, whole % 60)
                        : fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string time_text(std::int64_t unix_nanos) {
    const std::time_t seconds = unix_nanos / 1'000'000'000;
    std::tm parts{};
    char text[64];
    if (localtime_r(&seconds, &parts) == nullptr ||
        std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        return "?";
    }
    return text;
}

std::string printable(std::string_view text) {
    std::string line(text);
    for (char& c : line) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            c = '?';
        }
    }
    return line;
}

std::string fit_name(std::string_view name, std::size_t width) {
    std::string fitted = printable(name);
    if (width == 0 || columns(fitted) <= width) {
        return fitted;
    }
    fitted = without(fitted, '<', '>');
    if (columns(fitted) > width) {
        fitted = without(fitted, '(', ')');
    }
    width = std::max(width, kShortestName);
    return columns(fitted) <= width ? fitted : without_middle(fitted, width);
}

std::string source_text(const Profile& profile, const CallTree::Frame& frame) {
    if (frame.file != 0) {
        const std::string file = printable(profile.strings[frame.file]);
        return frame.line > 0 ? fmt::format("{}:{}", file, frame.line) : file;
    }
    const std::string& module = profile.strings[frame.module];
    // A nameless frame begins with its module already.
    const std::string name = module.substr(module.rfind('/') + 1);
    return name.empty() || profile.strings[frame.function].starts_with(name) ? ""
                                                                             : "[" + printable(name) + "]";
}

FrameText fit_frame(const Profile& profile, const CallTree::Frame& frame, std::size_t width) {
    FrameText text{printable(profile.strings[frame.function]), source_text(profile, frame)};
    const auto too_wide = [&] {
        return width != 0 && columns(text.function) + 2 + columns(text.source) > width;
    };
    if (too_wide() && text.source.starts_with("/")) {
        text.source.erase(0, text.source.rfind('/') + 1);
    }
    if (too_wide()) {
        const std::size_t source = text.source.empty() ? 0 : columns(text.source) + 2;
        text.function =
            fit_name(text.function, width > source + kShortestName ? width - source : kShortestName);
    }
    if (too_wide()) {
        text.source.clear();
    }
    return text;
}

}  // namespace unfreed
