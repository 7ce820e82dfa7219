// One line on a terminal that says what is being done, when it takes longer than a second; nothing in a pipe.
#pragma once
#include <chrono>
#include <cstddef>
#include <string>

namespace unfreed {

class ProgressLine {
  public:
    ProgressLine();
    ~ProgressLine();  // leaves no trace of the line
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    // As report.h's Progress: what is being read, and how many of `all` are done.
    void show(const std::string& what, std::size_t done, std::size_t all);

  private:
    const bool terminal_;
    const std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point shown_;
    bool visible_ = false;
};

}  // namespace unfreed
