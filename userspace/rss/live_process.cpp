#include "userspace/rss/live_process.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace unfreed::rss {
namespace {

std::vector<pid_t> numbers_in(const std::filesystem::path& folder) {
    std::vector<pid_t> numbers;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        numbers.push_back(std::atoi(at->path().filename().c_str()));
    return numbers;
}

}  // namespace

bool LiveProcess::read(std::uint64_t address, std::span<std::byte> to) const {
    const iovec local{to.data(), to.size()};
    const iovec remote{reinterpret_cast<void*>(address), to.size()};
    return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(to.size());
}

std::vector<std::optional<std::uint64_t>> LiveProcess::read_words(
    std::span<const std::uint64_t> addresses) const {
    constexpr std::size_t kAtOnce = 1024;  // IOV_MAX
    std::vector<std::optional<std::uint64_t>> words(addresses.size());
    std::array<std::uint64_t, kAtOnce> values{};
    std::array<iovec, kAtOnce> remote{};
    for (std::size_t first = 0; first < addresses.size();) {
        const std::size_t count = std::min(kAtOnce, addresses.size() - first);
        for (std::size_t i = 0; i < count; ++i)
            remote[i] = {reinterpret_cast<void*>(addresses[first + i]), sizeof(std::uint64_t)};
        const iovec local{values.data(), count * sizeof(std::uint64_t)};
        const ssize_t got = process_vm_readv(pid_, &local, 1, remote.data(), count, 0);
        const std::size_t whole = got > 0 ? static_cast<std::size_t>(got) / sizeof(std::uint64_t) : 0;
        for (std::size_t i = 0; i < whole; ++i) words[first + i] = values[i];
        first += whole == count ? count : whole + 1;  // past the one that could not be read
    }
    return words;
}

std::vector<PageState> LiveProcess::pages(std::uint64_t start, std::uint64_t end) const {
    const int file = open(("/proc/" + std::to_string(pid_) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    std::vector<PageState> states((end - start) / kPageBytes);
    std::array<std::uint64_t, 8192> entries{};
    for (std::size_t page = 0; page < states.size();) {
        const std::size_t count = std::min(entries.size(), states.size() - page);
        const auto offset = static_cast<off_t>((start / kPageBytes + page) * sizeof(std::uint64_t));
        const ssize_t got = pread(file, entries.data(), count * sizeof(std::uint64_t), offset);
        if (got <= 0) {
            states.clear();
            break;
        }
        const std::size_t whole = static_cast<std::size_t>(got) / sizeof(std::uint64_t);
        for (std::size_t i = 0; i < whole; ++i)
            states[page + i] = (entries[i] >> 63 & 1) != 0   ? PageState::kResident
                               : (entries[i] >> 62 & 1) != 0 ? PageState::kSwapped
                                                             : PageState::kNone;
        page += whole;
    }
    close(file);
    return states;
}

std::string LiveProcess::proc_file(const std::string& name) const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<pid_t> LiveProcess::children() const {
    std::vector<pid_t> all;
    for (const pid_t thread : numbers_in("/proc/" + std::to_string(pid_) + "/task")) {
        std::istringstream text(proc_file("task/" + std::to_string(thread) + "/children"));
        for (pid_t child = 0; text >> child;) all.push_back(child);
    }
    return all;
}

std::vector<std::uint64_t> LiveProcess::stack_pointers() const {
    std::vector<std::uint64_t> pointers;
    for (const pid_t thread : numbers_in("/proc/" + std::to_string(pid_) + "/task")) {
        // "NUMBER six arguments sp pc", "-1 sp pc" outside of a system call, or "running"
        std::istringstream text(proc_file("task/" + std::to_string(thread) + "/syscall"));
        std::vector<std::string> words;
        for (std::string word; text >> word;) words.push_back(word);
        if (words.size() >= 3)
            pointers.push_back(std::strtoull(words[words.size() - 2].c_str(), nullptr, 16));
    }
    return pointers;
}

}  // namespace unfreed::rss
