#include "userspace/capture/ebpf/link_closer.h"

#include <signal.h>

#include <iterator>
#include <utility>

namespace unfreed::ebpf {

LinkCloser::~LinkCloser() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void LinkCloser::close(std::vector<Descriptor> links) {
    if (links.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        std::move(links.begin(), links.end(), std::back_inserter(waiting_));
    }
    changed_.notify_all();
    if (!threads_.empty()) return;
    sigset_t all, before;  // signals are the main thread's
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (threads_.size() < kThreads) threads_.emplace_back([this] { work(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void LinkCloser::work() {
    std::unique_lock lock(mutex_);
    while (!ends_ || !waiting_.empty()) {
        if (waiting_.empty()) {
            changed_.wait(lock);
            continue;
        }
        Descriptor link = std::move(waiting_.back());
        waiting_.pop_back();
        lock.unlock();
        link.close();
        lock.lock();
    }
}

}  // namespace unfreed::ebpf
