// Going down a chosen call path: each level is one of two functions, picked by a bit of the path's number.
// The frames are made anew on every descent, as in a program that returns to its main loop between requests.
#pragma once
#include "tests/bench/workloads/loop.h"

namespace bench {

using Work = void (*)(void* context);

[[gnu::noinline]] static void left(unsigned depth, std::uint64_t path, Work work, void* context);
[[gnu::noinline]] static void right(unsigned depth, std::uint64_t path, Work work, void* context);

// Level n looks at bit n % 16 of `path`.
[[gnu::always_inline]] inline void descend(unsigned depth, std::uint64_t path, Work work, void* context) {
    if (depth == 0) {
        work(context);
    } else if (path >> (depth % 16) & 1) {
        right(depth - 1, path, work, context);
    } else {
        left(depth - 1, path, work, context);
    }
    use(context);
}

static void left(unsigned depth, std::uint64_t path, Work work, void* context) {
    descend(depth, path, work, context);
}

static void right(unsigned depth, std::uint64_t path, Work work, void* context) {
    char frame[48];  // another frame size than left's
    use(frame);
    descend(depth, path, work, context);
}

// The paths in turn, `paths` (256 or 65,536) different ones. Level 8, 16, 24 ... (16, 32 ...) sees another
// bit on every turn, so that all frames further in are other frames; branch prediction copes, as it does in a
// program at work.
inline std::uint64_t path_number(std::uint64_t turn, std::uint64_t paths) {
    const std::uint64_t number = turn & (paths - 1);
    return paths <= 256 ? number << 8 | number : number;
}

}  // namespace bench
