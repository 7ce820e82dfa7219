#include "userspace/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "userspace/report/short_name.h"
#include "userspace/snapshot/age_bucket.h"

namespace unfreed {
namespace {

constexpr std::size_t kShortestName = 16;  // shorter than that, a name says nothing

bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// In columns: UTF-8's continuation bytes take none.
std::size_t columns(std::string_view text) {
    return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

// Bytes of the UTF-8 character that `text` starts with; 0: it is none, or one that XML forbids.
std::size_t character_size(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const std::size_t size = byte(0) < 0x80   ? 1
                             : byte(0) < 0xc2 ? 0
                             : byte(0) < 0xe0 ? 2
                             : byte(0) < 0xf0 ? 3
                             : byte(0) < 0xf5 ? 4
                                              : 0;
    if (size > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < size; ++i) {
        if (!is_continuation(text[i])) {
            return 0;
        }
    }
    const bool too_long = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
    const bool surrogate = byte(0) == 0xed && byte(1) >= 0xa0;
    const bool too_large = byte(0) == 0xf4 && byte(1) >= 0x90;
    const bool not_a_character = byte(0) == 0xef && byte(1) == 0xbf && byte(2) >= 0xbe;
    return too_long || surrogate || too_large || not_a_character ? 0 : size;
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

std::string error_text(const CallTree::Weight& weight) {
    constexpr double kDeviations = 1.96;  // of a normal distribution, that 95 % lie within
    const double error = kDeviations * std::sqrt(weight.variance);
    return error < 0.5 ? "" : " ± " + bytes_text(static_cast<std::int64_t>(std::min(error, 9e18)));
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
    std::string line;
    line.reserve(text.size());
    while (!text.empty()) {
        const std::size_t size = character_size(text);
        if (size == 0 || (size == 1 && (static_cast<unsigned char>(text[0]) < 0x20 || text[0] == 0x7f))) {
            line += '?';
        } else {
            line += text.substr(0, size);
        }
        text.remove_prefix(std::max<std::size_t>(size, 1));
    }
    return line;
}

std::string fit_text(std::string_view text, std::size_t width) {
    std::string fitted = printable(text);
    if (width == 0 || columns(fitted) <= width) {
        return fitted;
    }
    // By bytes: a text with longer characters comes out shorter than it could be.
    width = std::max<std::size_t>(width, 4);
    std::size_t head = (width - 3) * 2 / 3;
    std::size_t tail = fitted.size() - (width - 3 - head);
    while (head > 0 && is_continuation(fitted[head])) {
        --head;
    }
    while (tail < fitted.size() && is_continuation(fitted[tail])) {
        ++tail;
    }
    return fitted.substr(0, head) + "..." + fitted.substr(tail);
}

std::string fit_name(std::string_view name, std::size_t width) {
    const std::string whole = printable(name);
    std::string fitted;
    for (const std::size_t list_columns : {kListColumns, kListColumns / 2, std::size_t{0}}) {
        fitted = short_name(whole, list_columns);
        if (width == 0 || columns(fitted) <= width) {
            return fitted;
        }
    }
    return fit_text(fitted, std::max(width, kShortestName));
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
    const std::string& name = profile.strings[frame.function];
    FrameText text{fit_name(name, 0), source_text(profile, frame)};
    const auto too_wide = [&] {
        return width != 0 && columns(text.function) + 2 + columns(text.source) > width;
    };
    if (too_wide() && text.source.starts_with("/")) {
        text.source.erase(0, text.source.rfind('/') + 1);
    }
    if (too_wide()) {
        const std::size_t source = text.source.empty() ? 0 : columns(text.source) + 2;
        text.function = fit_name(name, width > source + kShortestName ? width - source : kShortestName);
    }
    if (too_wide()) {
        text.source.clear();
    }
    return text;
}

}  // namespace unfreed
