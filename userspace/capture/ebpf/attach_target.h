// Can a process be traced at all? Each obstacle has a line of its own.
#pragma once
#include <sys/types.h>

namespace unfreed::ebpf {

// Throws Error (125): no such process, a zombie, a kernel thread, a 32-bit program, not ours to see.
void check_attach_target(pid_t pid);

}  // namespace unfreed::ebpf
