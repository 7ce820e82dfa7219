// The books a test program keeps of its own allocations, to hold unfreed's numbers against.
//
// A site is a noinline function site_NAME, by which a call path in the profile is matched to its page in the
// books. Nothing here allocates, takes a lock or needs a constructor, so sites work before main, after it, in
// signal handlers and between fork and exec. Counts are atomic: any thread may book a free of any site's
// block.
//
// The file's first line is the process id; then one line per site: name, function, domain, outstanding blocks
// and bytes, blocks and bytes ever; its last line is "end".
#pragma once
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace books {

struct Site {
    const char* name;
    const char* function;  // the leaf frame that the profile shows: the allocation function called
    const char* domain;
    std::atomic<long long> blocks{0}, bytes{0}, ever_blocks{0}, ever_bytes{0};
    std::atomic<bool> listed{false};
};

struct Block {
    void* address = nullptr;
    std::size_t bytes = 0;
    Site* site = nullptr;
    int kind = 0;               // which functions may give it back: the program's own affair
    std::size_t alignment = 0;  // as asked for, where it was
};

inline constexpr int kMaxSites = 256;
inline std::atomic<Site*> sites[kMaxSites];
inline std::atomic<int> site_count{0};

inline void list(Site& site) {
    if (!site.listed.exchange(true)) sites[site_count.fetch_add(1)] = &site;
}

// Books a block that `site` has just been given (none when address is null).
inline Block got(Site& site, void* address, std::size_t bytes, int kind = 0, std::size_t alignment = 0) {
    list(site);
    if (!address) return {};
    site.blocks += 1;
    site.bytes += static_cast<long long>(bytes);
    site.ever_blocks += 1;
    site.ever_bytes += static_cast<long long>(bytes);
    return {address, bytes, &site, kind, alignment};
}

// Books that the block, or `blocks` and `bytes` of it, have just been given back.
inline void gave(Site& site, long long blocks, long long bytes) {
    site.blocks -= blocks;
    site.bytes -= bytes;
}
inline void gave(Block& block) {
    if (block.site) gave(*block.site, 1, static_cast<long long>(block.bytes));
    block = {};
}

inline char* put(char* out, const char* text) {
    while (*text) *out++ = *text++;
    return out;
}
inline char* put(char* out, long long number) {
    char digits[24];
    int n = 0;
    if (number < 0) *out++ = '-';
    unsigned long long left = number < 0 ? 0ull - static_cast<unsigned long long>(number) : number;
    do digits[n++] = static_cast<char>('0' + left % 10);
    while (left /= 10);
    while (n) *out++ = digits[--n];
    return out;
}

// For the child of a fork: what the parent allocated is not in the child's books.
inline void start_over() {
    for (int i = 0; i < site_count; ++i) {
        Site& site = *sites[i].load();
        site.blocks = site.bytes = site.ever_blocks = site.ever_bytes = 0;
    }
}

inline void write_all(int fd, const char* text, std::size_t bytes) {
    while (bytes) {
        const ssize_t n = ::write(fd, text, bytes);
        if (n <= 0) _exit(99);
        text += n;
        bytes -= static_cast<std::size_t>(n);
    }
}

// Writes the books to `path` by rename, so that whoever waits for the file finds it whole.
inline void write_file(const char* path) {
    static char text[kMaxSites * 256], temporary[4096];
    char* out = put(put(put(text, "pid\t"), static_cast<long long>(::getpid())), "\n");
    for (int i = 0; i < site_count; ++i) {
        const Site& site = *sites[i].load();
        out = put(put(out, site.name), "\t");
        out = put(put(out, site.function), "\t");
        out = put(put(out, site.domain), "\t");
        out = put(put(out, site.blocks), "\t");
        out = put(put(out, site.bytes), "\t");
        out = put(put(out, site.ever_blocks), "\t");
        out = put(put(out, site.ever_bytes), "\n");
    }
    out = put(out, "end\n");
    if (strlen(path) + 5 > sizeof temporary) _exit(99);
    *put(put(temporary, path), ".new") = 0;
    const int fd = ::open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) _exit(99);
    write_all(fd, text, static_cast<std::size_t>(out - text));
    ::close(fd);
    if (::rename(temporary, path) != 0) _exit(99);
}

}  // namespace books

// A site's page and the head of its function. noipa keeps the function's name, frame and call as written.
#define BOOKS_SITE(NAME, FUNCTION, DOMAIN) \
    static books::Site page_##NAME {       \
#NAME, FUNCTION, DOMAIN            \
    }
#define BOOKS_FUNCTION extern "C" __attribute__((noinline, noipa))

// The plainest site: BOOKS_MALLOC(NAME) defines site_NAME(bytes), which calls malloc.
#define BOOKS_MALLOC(NAME)                                      \
    BOOKS_SITE(NAME, "malloc", "malloc");                       \
    BOOKS_FUNCTION books::Block site_##NAME(std::size_t bytes); \
    books::Block site_##NAME(std::size_t bytes) {               \
        return books::got(page_##NAME, malloc(bytes), bytes);   \
    }
