#include "preload/session.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "preload/contract/hello.h"
#include "preload/environment.h"
#include "preload/live.h"
#include "preload/modules.h"
#include "preload/real.h"
#include "preload/regions.h"
#include "preload/sampling.h"
#include "preload/system_call.h"
#include "preload/thread.h"
#include "preload/trie.h"

namespace unfreed::preload {
namespace {

enum SessionState : uint32_t { kNew, kStarting, kOpen, kOff };

char* table_at = nullptr;     // the table's address, the same in every child
bool started_before = false;  // in this process image or the one it was forked from
long sandbox_at_start = 0;    // prctl(PR_GET_SECCOMP) then

long receive_descriptor(int socket, uf_welcome* welcome) {
    iovec part{welcome, sizeof *welcome};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    long got = system_call(SYS_recvmsg, socket, word(&message), MSG_CMSG_CLOEXEC);
    if (got != static_cast<long>(sizeof *welcome) || welcome->magic != UF_HELLO_MAGIC ||
        welcome->version != UF_HELLO_VERSION || welcome->status != UF_WELCOME)
        return -1;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS) return -1;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}

bool wait_for(int socket, short events) {
    struct {
        int fd;
        short events, revents;
    } one{socket, events, 0};
    for (;;) {
        long got = system_call(SYS_poll, word(&one), 1, UF_HELLO_TIMEOUT_MS);
        if (got != -4 /* EINTR */) return got == 1;
    }
}

// The table's memory file from the collector; negative: none to be had.
long say_hello() {
    const char* name = environment(UF_ENV_SOCKET);
    size_t length = name ? strlen(name) : 0;
    sockaddr_un address{};
    if (length == 0 || length + 1 > sizeof address.sun_path) return -1;
    const char* only = environment(UF_ENV_NO_FOLLOW);
    if (only && decimal(only) != static_cast<uint64_t>(system_call(SYS_getpid))) return -1;
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, name, length);
    // Without SOCK_NONBLOCK a full backlog would block for good: then there is no collector for us.
    long socket = system_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) return -1;
    long descriptor = -1;
    long connected;
    for (int tries = 0;; tries++) {
        connected = system_call(SYS_connect, socket, word(&address),
                                static_cast<long>(offsetof(sockaddr_un, sun_path) + 1 + length));
        if (connected != -11 /* EAGAIN: backlog full */ || tries >= 500) break;
        struct {
            long seconds, nanoseconds;
        } pause{0, 10'000'000};
        system_call(SYS_nanosleep, word(&pause), 0);
    }
    if (connected == 0) {
        uf_hello hello{UF_HELLO_MAGIC, UF_HELLO_VERSION, cell_shift_of_allocator(), started_before ? 1u : 0u,
                       0};
        uf_welcome welcome{};
        if (system_call(SYS_sendto, socket, word(&hello), sizeof hello, MSG_NOSIGNAL) ==
                static_cast<long>(sizeof hello) &&
            wait_for(static_cast<int>(socket), 1 /* POLLIN */))
            descriptor = receive_descriptor(static_cast<int>(socket), &welcome);
    }
    system_call(SYS_close, socket);
    return descriptor;
}

// The sparse table would break a limit of the address space: the launcher raised it by the table's size for
// us, and here it becomes what the program was given, and the table on top when it is mapped.
void restore_address_space_limit(bool mapped) {
    const char* text = environment("UNFREED_ADDRESS_SPACE");
    if (!text || started_before) return;
    struct {
        uint64_t soft, hard;
    } limit{};
    if (system_call(SYS_prlimit64, 0, 9 /* RLIMIT_AS */, 0, word(&limit)) != 0) return;
    uint64_t soft = decimal(text) + (mapped ? UF_TABLE_BYTES : 0);
    if (soft >= limit.soft) return;  // a parent asked for less
    limit.soft = soft;
    system_call(SYS_prlimit64, 0, 9, word(&limit), 0);
}

bool map_table(int descriptor) {
    // A child maps its own over its parent's: an address from before the fork that is still in use on some
    // interrupted stack then leads into the child's own table.
    int fixed = table_at ? MAP_FIXED : 0;
    long at = system_call(SYS_mmap, word(table_at), static_cast<long>(UF_TABLE_BYTES), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_NORESERVE | fixed, descriptor, 0);
    if (at < 0 && at > -4096) {
        // Said through the descriptor, the only way there is without the mapping.
        uint64_t once = 1;
        system_call(SYS_pwrite64, descriptor, word(&once), sizeof once,
                    static_cast<long>(offsetof(uf_header, loss) + sizeof once * UF_LOSS_no_address_space));
        return false;
    }
    __atomic_store_n(&table_at, reinterpret_cast<char*>(at), __ATOMIC_RELEASE);
    system_call(SYS_madvise, at, static_cast<long>(UF_TABLE_BYTES), MADV_DONTDUMP);
    const auto* header = reinterpret_cast<uf_header*>(table_at);
    return header->magic == UF_TABLE_MAGIC && header->version == UF_TABLE_VERSION;
}

// Without a page that a fork wipes a child could write into its parent's table: then nothing is recorded.
bool make_gate() {
    return system_call(SYS_madvise, word(&gate), sizeof gate, 18 /* MADV_WIPEONFORK */) == 0;
}

uint32_t last_generation = 1;  // survives a fork

void new_generation() {
    uint32_t number = __atomic_add_fetch(&last_generation, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&gate.generation, number, __ATOMIC_RELEASE);
}

// Also a program that allocates nothing is a recorded one.
__attribute__((constructor)) void begin() {
    open_table();
}

// A child that put itself into a sandbox after the fork may be killed for opening a socket.
bool sandbox_is_new() {
    long mode = system_call(SYS_prctl, PR_GET_SECCOMP);
    if (!started_before) sandbox_at_start = mode;
    return mode != sandbox_at_start;
}

}

Gate gate{};
bool forked = false;

void code_was_unloaded() {
    if (open_table()) new_generation();
}

char* mapped_table() {
    return __atomic_load_n(&table_at, __ATOMIC_ACQUIRE);
}

void stop_session() {
    __atomic_store_n(&gate.state, kOff, __ATOMIC_RELAXED);
    __atomic_store_n(&gate.sampled, nullptr, __ATOMIC_RELAXED);
    __atomic_store_n(&gate.table, nullptr, __ATOMIC_RELEASE);
}

// SLOW: once per process image.
__attribute__((noinline)) Table* start_session() {
    if (!environment_is_ready()) return nullptr;  // before libc's own start: nothing to read the name from
    if (__atomic_load_n(&gate.state, __ATOMIC_RELAXED) == kOff) return nullptr;
    find_real_functions();  // the hello says which allocator it is
    SignalsHeld held;
    if (!make_gate()) {
        gate.state = kOff;
        return nullptr;
    }
    uint32_t expected = kNew;
    if (!__atomic_compare_exchange_n(&gate.state, &expected, kStarting, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        // Another thread is at it: its answer comes within the hello's own time limit.
        while (__atomic_load_n(&gate.state, __ATOMIC_ACQUIRE) == kStarting) system_call(SYS_sched_yield);
        return __atomic_load_n(&gate.table, __ATOMIC_ACQUIRE);
    }
    long descriptor = sandbox_is_new() ? -1 : say_hello();
    bool open = descriptor >= 0 && map_table(static_cast<int>(descriptor));
    if (descriptor >= 0) system_call(SYS_close, descriptor);
    restore_address_space_limit(open);
    if (open) {
        auto* table = reinterpret_cast<Table*>(table_at);
        reset_trie(table);
        reset_regions(table);
        reset_modules(table);
        reset_counter_slots();
        reset_live(table);
        if (table->header()->sample_bytes != 0) {
            begin_countdown();
            note_always(table, address_of(arena), kArenaBytes);
            __atomic_store_n(&gate.sampled, table->sampled(), __ATOMIC_RELEASE);
        }
        new_generation();
        __atomic_store_n(&gate.table, table, __ATOMIC_RELEASE);
    }
    forked = started_before;
    started_before = true;
    __atomic_store_n(&gate.state, open ? kOpen : kOff, __ATOMIC_RELEASE);
    return open ? reinterpret_cast<Table*>(table_at) : nullptr;
}

}
