// What unfreed says to people, on standard error. That nobody reads it, or that it has no room, is no reason
// to fail: what the command ended with is still to be passed on.
#pragma once
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace unfreed {

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
    const std::string text = fmt::format(format, std::forward<Args>(args)...);
    std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace unfreed
