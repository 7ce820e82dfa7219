#include "userspace/capture/preload/session_server.h"

#include <sys/epoll.h>

#include <catch2/catch.hpp>

#include "tests/unit/userspace_capture/fake_shim.h"

using namespace unfreed;
using namespace unfreed::testing;

namespace {

struct Server {
    Descriptor epoll{epoll_create1(EPOLL_CLOEXEC)};
    std::vector<pid_t> heard;
    SessionServer server{epoll.get(), 7, [this](pid_t pid, const uf_hello&) {
                             heard.push_back(pid);
                             return SessionServer::Answer{-1, UF_WELCOME_STOPPED};
                         }};

    // What a process of its own is told, as exit code: the status, or 99 for no answer.
    int answer_to(const uf_hello& hello) {
        const pid_t pid = start_process([&] {
            const Welcome welcome = say_hello(server.name(), hello);
            return welcome.answered ? static_cast<int>(welcome.packet.status) : 99;
        });
        return WEXITSTATUS(serve_until_end(pid, epoll.get(), [this] { server.serve(); }));
    }
};

}  // namespace

TEST_CASE("a hello is heard with the process id that the kernel knows") {
    Server server;
    const pid_t pid = start_process([&] { return say_hello(server.server.name()).answered ? 0 : 1; });
    CHECK(serve_until_end(pid, server.epoll.get(), [&] { server.server.serve(); }) == 0);
    REQUIRE(server.heard.size() == 1);
    CHECK(server.heard[0] == pid);
}

TEST_CASE("another version is told so and counted") {
    Server server;
    uf_hello hello = kGoodHello;
    hello.version = UF_HELLO_VERSION + 1;
    CHECK(server.answer_to(hello) == UF_WELCOME_VERSION);
    CHECK(server.server.other_versions() == 1);
    CHECK(server.heard.empty());
}

TEST_CASE("a cell size that no table has is another version") {
    Server server;
    uf_hello hello = kGoodHello;
    hello.cell_shift = 64;
    CHECK(server.answer_to(hello) == UF_WELCOME_VERSION);
}

TEST_CASE("what is no hello gets no answer") {
    Server server;
    uf_hello hello = kGoodHello;
    hello.magic ^= 1;
    CHECK(server.answer_to(hello) == 99);
    CHECK(server.heard.empty());
}

TEST_CASE("packets of a wrong length get no answer") {
    Server server;
    const std::size_t length =
        GENERATE(std::size_t{1}, sizeof(uf_hello) - 1, sizeof(uf_hello) + 1, std::size_t{4000});
    const pid_t pid = start_process([&] {
        const std::string packet(length, 'x');
        const Descriptor connection = connect_to(server.server.name());
        send(connection.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
        return receive_welcome(connection.get()).answered ? 1 : 0;
    });
    CHECK(serve_until_end(pid, server.epoll.get(), [&] { server.server.serve(); }) == 0);
    CHECK(server.heard.empty());
}

TEST_CASE("who says nothing keeps nobody else from being heard") {
    Server server;
    std::vector<Descriptor> silent;
    for (int i = 0; i < 400; ++i) {
        silent.push_back(connect_to(server.server.name()));
        server.server.serve();
    }
    CHECK(server.answer_to(kGoodHello) == UF_WELCOME_STOPPED);
}

TEST_CASE("who speaks late is heard then") {
    Server server;
    const Descriptor connection = connect_to(server.server.name());
    server.server.serve();
    CHECK(server.heard.empty());
    REQUIRE(send(connection.get(), &kGoodHello, sizeof kGoodHello, 0) == sizeof kGoodHello);
    server.server.serve();
    CHECK(server.heard.size() == 1);
    CHECK(receive_welcome(connection.get()).packet.status == UF_WELCOME_STOPPED);
}

TEST_CASE("two servers have two names") {
    CHECK(Server().server.name() != Server().server.name());
}
