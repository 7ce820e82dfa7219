// What a process's threads keep in variables of their own (thread-local storage).
//
// Source: the x86-64 ABI for thread-local storage, variant II: a thread's variables lie right below its
// control block, whose first and third word are its own address (glibc, sysdeps/x86_64/nptl/tls.h:
// tcbhead_t). glibc puts a thread's block at the upper end of its stack, the main thread's into a mapping of
// its own.
#pragma once
#include <cstdint>
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/smaps.h"

namespace unfreed::rss {

// The words of the variables, as far as they are resident; of each thread at most the last 16 KiB of them.
std::vector<std::uint64_t> words_of_threads(const LiveProcess& process, const std::vector<Mapping>& mappings);

}  // namespace unfreed::rss
