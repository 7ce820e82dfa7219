#include "userspace/capture/preload/session_server.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "userspace/error.h"

namespace unfreed {
namespace {

constexpr std::size_t kMostSilent = 256;
constexpr int kBacklog = 4096;

std::int64_t now_ms() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

std::string random_name() {
    std::array<std::uint64_t, 2> random{};
    if (getrandom(random.data(), sizeof random, 0) != sizeof random)
        throw Error("no socket for the traced processes", "no random numbers", "try again");
    return fmt::format("unfreed-{:016x}{:016x}", random[0], random[1]);
}

void send_answer(int socket, const SessionServer::Answer& answer) {
    uf_welcome welcome{UF_HELLO_MAGIC, UF_HELLO_VERSION,
                       static_cast<std::uint32_t>(answer.descriptor >= 0 ? UF_WELCOME : answer.status)};
    iovec part{&welcome, sizeof welcome};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (answer.descriptor >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &answer.descriptor, sizeof(int));
    }
    // A peer that is gone, or that has not room for one packet, goes without.
    static_cast<void>(sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace

SessionServer::SessionServer(int epoll, std::uint64_t epoll_tag, OnHello on_hello)
    : epoll_(epoll), epoll_tag_(epoll_tag), on_hello_(std::move(on_hello)), name_(random_name()) {
    listener_ = Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name_.data(), name_.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
    epoll_event event{EPOLLIN, {.u64 = epoll_tag_}};
    if (!listener_ || bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(listener_.get(), kBacklog) != 0 ||
        epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_.get(), &event) != 0)
        throw Error("no socket for the traced processes", std::strerror(errno),
                    "raise the limit of open files (ulimit -n)");
}

void SessionServer::serve() {
    std::erase_if(silent_, [this](const Connection& connection) { return heard(connection); });
    while (true) {
        Connection connection{
            Descriptor(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)), 0,
            now_ms()};
        if (!connection.socket) return;
        ucred peer{};
        socklen_t length = sizeof peer;
        if (getsockopt(connection.socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
            peer.pid <= 0)
            continue;
        // The name is no secret on the machine: another user's processes are none that we started.
        if (geteuid() != 0 && peer.uid != geteuid()) continue;
        connection.pid = peer.pid;
        if (heard(connection)) continue;
        if (silent_.size() == kMostSilent) silent_.erase(silent_.begin());  // who was silent longest
        epoll_event event{EPOLLIN, {.u64 = epoll_tag_}};
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.socket.get(), &event) == 0)
            silent_.push_back(std::move(connection));
    }
}

bool SessionServer::heard(const Connection& connection) {
    uf_hello hello;
    const ssize_t got = recv(connection.socket.get(), &hello, sizeof hello, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) return errno != EAGAIN && errno != EINTR;
    if (got != sizeof hello || hello.magic != UF_HELLO_MAGIC) return true;
    Answer answer;
    if (hello.version != UF_HELLO_VERSION || (hello.cell_shift != 5 && hello.cell_shift != 3)) {
        answer.status = UF_WELCOME_VERSION;
        ++other_versions_;
    } else {
        answer = on_hello_(connection.pid, hello);
    }
    send_answer(connection.socket.get(), answer);
    return true;
}

void SessionServer::drop_silent() {
    const std::int64_t oldest = now_ms() - UF_HELLO_TIMEOUT_MS;
    std::erase_if(silent_, [=](const Connection& connection) { return connection.since_ms < oldest; });
}

}  // namespace unfreed
