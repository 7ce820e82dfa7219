// Hooks that keep the table out of what a program does with the size of its own address space. The table is
// sparse, half a terabyte of addresses: a limit that the program sets (RLIMIT_AS) would be broken by it at
// once, and locking all memory (mlockall) would fill it.
//
// A limit that the program asks for is set higher by the table's size, and read back lower by it. One that is
// larger than the table can only come from somebody who measured the address space, table included: that
// stays as it is. Calls that do not pass here (a raw system call, another process's prlimit) get the kernel's
// own numbers.
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "preload/session.h"
#include "preload/system_call.h"
#include "preload/visibility.h"

using namespace unfreed::preload;

namespace {

uint64_t without_table(uint64_t limit) {
    return limit != RLIM_INFINITY && limit >= UF_TABLE_BYTES ? limit - UF_TABLE_BYTES : limit;
}

uint64_t with_table(uint64_t limit) {
    return limit < UF_TABLE_BYTES ? limit + UF_TABLE_BYTES : limit;
}

int answer(long result) {
    if (result >= 0) return static_cast<int>(result);
    errno = static_cast<int>(-result);
    return -1;
}

bool is_own(long pid) {
    return pid == 0 || pid == system_call(SYS_getpid);
}

int change_limit(long pid, long resource, const rlimit64* wanted, rlimit64* before) {
    const bool counts_table = resource == RLIMIT_AS && is_own(pid) && mapped_table() != nullptr;
    rlimit64 raised;
    if (counts_table && wanted) {
        raised = rlimit64{with_table(wanted->rlim_cur), with_table(wanted->rlim_max)};
        wanted = &raised;
    }
    const long result = system_call(SYS_prlimit64, pid, resource, word(wanted), word(before));
    if (counts_table && before && result == 0)
        *before = rlimit64{without_table(before->rlim_cur), without_table(before->rlim_max)};
    return answer(result);
}

static_assert(sizeof(rlimit) == sizeof(rlimit64), "one layout, two names");

}

UF_HOOK int getrlimit(__rlimit_resource_t resource, rlimit* limit) noexcept {
    return change_limit(0, resource, nullptr, reinterpret_cast<rlimit64*>(limit));
}
UF_HOOK int getrlimit64(__rlimit_resource_t resource, rlimit64* limit) noexcept {
    return change_limit(0, resource, nullptr, limit);
}
UF_HOOK int setrlimit(__rlimit_resource_t resource, const rlimit* limit) noexcept {
    return change_limit(0, resource, reinterpret_cast<const rlimit64*>(limit), nullptr);
}
UF_HOOK int setrlimit64(__rlimit_resource_t resource, const rlimit64* limit) noexcept {
    return change_limit(0, resource, limit, nullptr);
}
UF_HOOK int prlimit(pid_t pid, enum __rlimit_resource resource, const rlimit* limit,
                    rlimit* before) noexcept {
    return change_limit(pid, resource, reinterpret_cast<const rlimit64*>(limit),
                        reinterpret_cast<rlimit64*>(before));
}
UF_HOOK int prlimit64(pid_t pid, enum __rlimit_resource resource, const rlimit64* limit,
                      rlimit64* before) noexcept {
    return change_limit(pid, resource, limit, before);
}

// The table's pages are left as they are. What the program has not touched yet is locked when it is: filling
// only its own memory is more than a hook can do.
UF_HOOK int mlockall(int flags) noexcept {
    char* table = mapped_table();
    if (!table || (flags & MCL_CURRENT) == 0) return answer(system_call(SYS_mlockall, flags));
    const long result = system_call(SYS_mlockall, flags | MCL_ONFAULT);
    if (result != 0) return answer(result);
    system_call(SYS_munlock, word(table), static_cast<long>(UF_TABLE_BYTES));
    if ((flags & MCL_FUTURE) != 0) system_call(SYS_mlockall, flags & ~MCL_CURRENT);
    return 0;
}
