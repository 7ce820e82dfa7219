// A living process, looked at without stopping it: its memory, which of its pages are there, its threads.
//
// Everything may change while it is read, and the process may end at any moment: a read gives nothing then.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unfreed::rss {

enum class PageState : std::uint8_t { kNone, kResident, kSwapped };

class LiveProcess {
  public:
    explicit LiveProcess(pid_t pid) : pid_(pid) {}
    pid_t pid() const { return pid_; }

    // Copies memory at `address` into `to`: all of it, or false. May be read: what ptrace may read.
    bool read(std::uint64_t address, std::span<std::byte> to) const;
    template <typename Number>
    std::optional<Number> read(std::uint64_t address) const {
        Number number;
        if (!read(address, std::as_writable_bytes(std::span(&number, 1)))) return std::nullopt;
        return number;
    }
    // One word from each address; what could not be read is nothing.
    std::vector<std::optional<std::uint64_t>> read_words(std::span<const std::uint64_t> addresses) const;

    // Where each 4096-byte page of [start, end) is (/proc/PID/pagemap); empty: not known.
    std::vector<PageState> pages(std::uint64_t start, std::uint64_t end) const;

    // A /proc/PID file's text; empty: not there, or not for us.
    std::string proc_file(const std::string& name) const;
    std::vector<pid_t> children() const;
    // Where each thread's stack pointer is, as far as the kernel tells (not of threads that run just now).
    std::vector<std::uint64_t> stack_pointers() const;

  private:
    pid_t pid_;
};

inline constexpr std::uint64_t kPageBytes = 4096;

}  // namespace unfreed::rss
