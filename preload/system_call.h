// System calls without libc: a traced program may have wrapped libc's functions, may be anywhere inside libc,
// and its errno and its thread cancellation are not ours to touch. Each returns the kernel's answer: -errno
// on failure.
#pragma once
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

namespace unfreed::preload {

inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

template <class T>
long word(T* pointer) {
    return reinterpret_cast<long>(pointer);
}

// Private zeroed memory, or null.
void* map_private(size_t bytes);

// All signals held back while one lives: for the few changes that a handler must not find half done.
class SignalsHeld {
  public:
    SignalsHeld() {
        uint64_t all = ~uint64_t{0};
        system_call(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, word(&all), word(&before_), sizeof all);
    }
    ~SignalsHeld() {
        system_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, word(&before_), 0, sizeof before_);
    }
    SignalsHeld(const SignalsHeld&) = delete;
    SignalsHeld& operator=(const SignalsHeld&) = delete;

  private:
    uint64_t before_ = 0;
};

// Can the 8 bytes at `address` be read? Asked of the kernel, which copies a signal set from there before it
// refuses the request: allowed in every sandbox, harmless, and no fault where there is no memory.
inline bool readable(uint64_t address) {
    return system_call(SYS_rt_sigprocmask, -1, static_cast<long>(address), 0, 8) ==
           -22 /* EINVAL, not EFAULT */;
}

}
