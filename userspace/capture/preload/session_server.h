// Where shims say hello (preload/contract/hello.h): an abstract socket with a random name. Whoever connects
// is untrusted: what is not a hello is dropped, nobody is waited for, and only so many are heard at a time.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "preload/contract/hello.h"
#include "userspace/process/descriptor.h"

namespace unfreed {

class SessionServer {
  public:
    // Decides about a hello of this version from process `pid`: the descriptor of its table, which stays
    // ours, or -1 and a status.
    struct Answer {
        int descriptor = -1;
        uf_welcome_status status = UF_WELCOME_NOT_YOU;
    };
    using OnHello = std::function<Answer(pid_t pid, const uf_hello& hello)>;

    // Events of the socket and its connections go to `epoll` with `epoll_tag` as their data. Error (125) when
    // there can be no socket.
    SessionServer(int epoll, std::uint64_t epoll_tag, OnHello on_hello);

    const std::string& name() const { return name_; }  // for UF_ENV_SOCKET

    // Hears everyone who has something to say now; never waits.
    void serve();

    // Drops connections that have said nothing for the time of a hello.
    void drop_silent();

    std::uint64_t other_versions() const { return other_versions_; }

  private:
    struct Connection {
        Descriptor socket;
        pid_t pid;
        std::int64_t since_ms;
    };
    bool heard(const Connection& connection);  // true: done with it

    int epoll_;
    std::uint64_t epoll_tag_;
    OnHello on_hello_;
    std::string name_;
    Descriptor listener_;
    std::vector<Connection> silent_;
    std::uint64_t other_versions_ = 0;
};

}  // namespace unfreed
