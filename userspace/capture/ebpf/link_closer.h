// Closes the probes of processes that have ended, in threads of its own: with each one the kernel waits until
// nobody stands in it, some 30 ms, in which the children of others would come and go unseen. Several at once
// wait for the same moment.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "userspace/process/descriptor.h"

namespace unfreed::ebpf {

class LinkCloser {
  public:
    LinkCloser() = default;
    // Returns when all are closed.
    ~LinkCloser();
    LinkCloser(const LinkCloser&) = delete;
    LinkCloser& operator=(const LinkCloser&) = delete;

    void close(std::vector<Descriptor> links);

  private:
    void work();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Descriptor> waiting_;
    bool ends_ = false;
    static constexpr std::size_t kThreads = 16;
    std::vector<std::thread> threads_;  // from the first close() on
};

}  // namespace unfreed::ebpf
