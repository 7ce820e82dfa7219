// How a traced process and the collector meet: one packet each way over an abstract SOCK_SEQPACKET socket
// whose name (without the leading zero byte) is in the environment variable UF_ENV_SOCKET.
//
// The shim connects and sends uf_hello; the collector answers with uf_welcome and, when status is UF_WELCOME,
// the table's memory file as SCM_RIGHTS. Both close the connection then: the table itself is the channel from
// there on, so a program may close every descriptor it does not know. Every wait is bounded by
// UF_HELLO_TIMEOUT_MS; without an answer the program runs untraced. The collector learns the process id from
// the kernel (SO_PEERCRED), not from the packet.
#pragma once
#ifndef __cplusplus
#include <assert.h>
#include <stdint.h>
#else
#include <cstdint>
#endif

#define UF_ENV_SOCKET "UNFREED_SOCKET"
#define UF_ENV_NO_FOLLOW "UNFREED_ONLY"  // --no-follow: the one process id that may say hello
#define UF_HELLO_MAGIC 0x6f6c6c6875660000ull
#define UF_HELLO_VERSION 1u  // changes with this file or with table.h
#define UF_HELLO_TIMEOUT_MS 5000

typedef struct uf_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t cell_shift;  // see table.h; 5 or 3
    uint32_t forked;      // 1: this image came by fork without exec; 0: by exec
    uint32_t unused;
} uf_hello;

enum uf_welcome_status {
    UF_WELCOME = 0,          // the table follows
    UF_WELCOME_NOT_YOU = 1,  // not a process we trace: run on
    UF_WELCOME_VERSION = 2,  // another version of unfreed
    UF_WELCOME_STOPPED = 3   // recording has ended
};

typedef struct uf_welcome {
    uint64_t magic;
    uint32_t version;
    uint32_t status;
} uf_welcome;

static_assert(sizeof(uf_hello) == 24 && sizeof(uf_welcome) == 16, "packets");
