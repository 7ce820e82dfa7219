// The shim's part of the conversation (preload/contract/hello.h), without its code: for tests of the
// collector.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

#include "preload/contract/hello.h"
#include "userspace/process/descriptor.h"

namespace unfreed::testing {

inline constexpr uf_hello kGoodHello{UF_HELLO_MAGIC, UF_HELLO_VERSION, 5, 0, 0};

inline Descriptor connect_to(const std::string& name) {
    Descriptor connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) connection.close();
    return connection;
}

struct Welcome {
    bool answered = false;
    uf_welcome packet{};
    Descriptor table;
};

// Waits for the answer or the end of the connection.
inline Welcome receive_welcome(int connection) {
    Welcome welcome;
    iovec part{&welcome.packet, sizeof welcome.packet};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    welcome.answered = recvmsg(connection, &message, MSG_CMSG_CLOEXEC) == sizeof welcome.packet;
    if (const cmsghdr* header = welcome.answered ? CMSG_FIRSTHDR(&message) : nullptr) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
        welcome.table = Descriptor(descriptor);
    }
    return welcome;
}

inline Welcome say_hello(const std::string& name, const uf_hello& hello = kGoodHello) {
    const Descriptor connection = connect_to(name);
    if (!connection || send(connection.get(), &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) return {};
    return receive_welcome(connection.get());
}

// A process of its own that runs `body` and exits with its result; 98 when it throws.
inline pid_t start_process(const std::function<int()>& body) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    try {
        _exit(body());
    } catch (...) {
        _exit(98);
    }
}

// Calls `serve` whenever `events` is readable, until `pid` has ended. Its waitpid status; fails after a
// minute.
inline int serve_until_end(pid_t pid, int events, const std::function<void()>& serve) {
    for (int i = 0; i < 6000; ++i) {
        int status = 0;
        if (waitpid(pid, &status, WNOHANG) == pid) return status;
        pollfd one{events, POLLIN, 0};
        if (poll(&one, 1, 10) == 1) serve();
    }
    throw std::runtime_error("the process does not end");
}

}  // namespace unfreed::testing
