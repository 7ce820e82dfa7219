#include "userspace/capture/ebpf/link_closer.h"

#include <signal.h>

#include <iterator>
#include <utility>

namespace unfreed::ebpf {

LinkCloser::~LinkCloser() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void LinkCloser::close(std::vector<Descriptor> links) {
    if (links.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        std::move(links.begin(), links.end(), std::back_inserter(waiting_));
    }
    changed_.notify_one();
    if (thread_.joinable()) return;
    sigset_t all, before;  // signals are the main thread's
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void LinkCloser::work() {
    std::unique_lock lock(mutex_);
    while (!ends_ || !waiting_.empty()) {
        if (waiting_.empty()) {
            changed_.wait(lock);
            continue;
        }
        std::vector<Descriptor> links = std::exchange(waiting_, {});
        lock.unlock();
        links.clear();
        lock.lock();
    }
}

}  // namespace unfreed::ebpf
