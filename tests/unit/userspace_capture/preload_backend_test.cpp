#include "userspace/capture/preload/preload_backend.h"

#include <catch2/catch.hpp>
#include <csignal>

#include "tests/unit/userspace_capture/fake_shim.h"
#include "tests/unit/userspace_capture/snapshot_rules.h"
#include "tests/unit/userspace_capture/table_builder.h"
#include "userspace/error.h"

using namespace unfreed;
using namespace unfreed::testing;

namespace {

std::optional<std::string> variable(const Backend& backend, const std::string& name, pid_t command = 1) {
    std::optional<std::string> value;
    for (const auto& [variable_name, text] : backend.environment(command))
        if (variable_name == name) value = text;
    return value;
}

struct Session {
    explicit Session(const CaptureSettings& settings = {}) : backend(settings, "/shim.so") {}

    std::string socket() const { return *variable(backend, UF_ENV_SOCKET); }

    // Runs `body` as the command and serves it to its end.
    void run(const std::function<int()>& body) {
        const pid_t pid = start_process(body);
        backend.command_created(pid, "/program");
        const int status = serve_until_end(pid, backend.event_descriptor(), [this] { backend.dispatch(); });
        backend.process_ended(pid, status);
        backend.dispatch();
    }

    PreloadBackend backend;
};

// In the traced process: one block of `size` bytes, live.
bool hello_with_block(const std::string& socket, std::uint64_t size, const uf_hello& hello = kGoodHello) {
    const Welcome welcome = say_hello(socket, hello);
    if (!welcome.table) return false;
    TableBuilder table(welcome.table.get());
    table.add_block(0x5500'0000'0000, size, table.add_path(0x1000, UF_FUNCTION_malloc));
    return true;
}

std::int64_t bytes_of(const Snapshot& snapshot, ProcessIndex process) {
    std::int64_t bytes = 0;
    for (const Sample& sample : snapshot.samples)
        if (sample.process == process) bytes += sample.inuse_bytes;
    return bytes;
}

// Runs a command with one block of 8 bytes, which lives on until `look` has been called with a snapshot that
// has it.
void look_at_living(Session& session, const std::function<void(const Snapshot&)>& look) {
    int go[2];
    REQUIRE(pipe2(go, O_CLOEXEC) == 0);
    const pid_t pid = start_process([&] {
        char byte;
        return hello_with_block(session.socket(), 8) && read(go[0], &byte, 1) == 1 ? 0 : 1;
    });
    session.backend.command_created(pid, "/program");
    bool looked = false;
    const int status = serve_until_end(pid, session.backend.event_descriptor(), [&] {
        session.backend.dispatch();
        if (looked) return;
        const Snapshot early = session.backend.snapshot(false);
        if (early.processes.empty()) return;
        looked = true;
        look(early);
        REQUIRE(write(go[1], "x", 1) == 1);
    });
    session.backend.process_ended(pid, status);
    CHECK(status == 0);
    CHECK(looked);
    close(go[0]);
    close(go[1]);
}

}  // namespace

TEST_CASE("what a process held at its end is in the snapshot, however it ended") {
    const int signal = GENERATE(0, SIGKILL, SIGSEGV);
    Session session;
    session.run([&] {
        if (!hello_with_block(session.socket(), 4711)) return 1;
        if (signal != 0) {
            std::signal(signal, SIG_DFL);
            raise(signal);
        }
        return 3;
    });
    CHECK(session.backend.finished());
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.processes.size() == 1);
    CHECK(bytes_of(snapshot, 0) == 4711);
    if (signal == 0) CHECK(snapshot.processes[0].end == "exited with 3");
    if (signal == SIGKILL) CHECK(snapshot.processes[0].end == "killed by SIGKILL");
    CHECK(broken_rule(snapshot) == "");
}

TEST_CASE("a second hello of the same process ends the image before by exec") {
    Session session;
    session.run([&] {
        const bool both = hello_with_block(session.socket(), 1) && hello_with_block(session.socket(), 2);
        return both ? 0 : 1;
    });
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.processes.size() == 2);
    CHECK(snapshot.processes[0].pid == snapshot.processes[1].pid);
    CHECK(snapshot.processes[0].end.starts_with("replaced by exec of "));
    CHECK(snapshot.processes[1].end == "exited with 0");
    CHECK(bytes_of(snapshot, 0) == 1);
    CHECK(bytes_of(snapshot, 1) == 2);
}

TEST_CASE("a child that the command outlives is a process of its own") {
    Session session;
    session.run([&] {
        const pid_t child = start_process([&] {
            uf_hello hello = kGoodHello;
            hello.forked = 1;
            return hello_with_block(session.socket(), 20, hello) ? 5 : 1;
        });
        int status = 0;
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 5) return 1;
        return hello_with_block(session.socket(), 10) ? 0 : 1;
    });
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.processes.size() == 2);
    CHECK(snapshot.processes[0].by_fork);
    CHECK(!snapshot.processes[1].by_fork);
    CHECK(bytes_of(snapshot, 0) == 20);
    CHECK(bytes_of(snapshot, 1) == 10);
}

TEST_CASE("a snapshot of a living process leaves it and its later ones alone") {
    Session session;
    look_at_living(session, [](const Snapshot& early) { CHECK(early.processes[0].end == "still running"); });
    CHECK(bytes_of(session.backend.snapshot(false), 0) == 8);
    CHECK(bytes_of(session.backend.snapshot(true), 0) == 8);
}

TEST_CASE("with --no-follow only the command is welcome") {
    CaptureSettings settings;
    settings.follow = false;
    Session session(settings);
    CHECK(variable(session.backend, UF_ENV_NO_FOLLOW, 1234) == "1234");
    session.run([&] {
        const pid_t child =
            start_process([&] { return static_cast<int>(say_hello(session.socket()).packet.status); });
        int status = 0;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status) == UF_WELCOME_NOT_YOU && hello_with_block(session.socket(), 1) ? 0 : 1;
    });
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.processes.size() == 1);
    CHECK(snapshot.processes[0].end == "exited with 0");
}

TEST_CASE("after the end of recording a hello is told so") {
    Session session;
    session.backend.stop_recording();
    session.run([&] { return static_cast<int>(say_hello(session.socket()).packet.status); });
    CHECK(session.backend.snapshot(true).processes.empty());
}

TEST_CASE("the end of recording reaches the tables that are in use") {
    Session session;
    const pid_t pid = start_process([&] {
        const Welcome welcome = say_hello(session.socket());
        TableBuilder table(welcome.table.get());
        while (__atomic_load_n(&table.header().recording, __ATOMIC_RELAXED) != 0) usleep(1000);
        return 0;
    });
    CHECK(serve_until_end(pid, session.backend.event_descriptor(), [&] {
              session.backend.dispatch();
              if (!session.backend.snapshot(false).processes.empty()) session.backend.stop_recording();
          }) == 0);
}

TEST_CASE("a table says how it is to be filled") {
    CaptureSettings settings;
    settings.sample_bytes = 4096;
    Session session(settings);
    session.run([&] {
        uf_hello hello = kGoodHello;
        hello.cell_shift = 3;
        const Welcome welcome = say_hello(session.socket(), hello);
        TableBuilder table(welcome.table.get());
        const uf_header& header = table.header();
        const bool good = header.magic == UF_TABLE_MAGIC && header.version == UF_TABLE_VERSION &&
                          header.cell_shift == 3 && header.sample_bytes == 4096 && header.recording == 1;
        return good ? 0 : 1;
    });
    const Snapshot snapshot = session.backend.snapshot(true);
    CHECK(snapshot.processes.at(0).end == "exited with 0");
    CHECK(snapshot.sample_bytes == 4096);
}

TEST_CASE("no traced process can change the size of its table") {
    Session session;
    session.run([&] {
        const Welcome welcome = say_hello(session.socket());
        return ftruncate(welcome.table.get(), 4096) == 0 ? 1 : 0;
    });
    CHECK(session.backend.snapshot(true).processes.at(0).end == "exited with 0");
}

TEST_CASE("a process that got a table and could not use it is told of") {
    Session session;
    session.run([&] { return say_hello(session.socket()).table ? 0 : 1; });
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.losses.size() == 1);
    CHECK(snapshot.losses[0].cause.starts_with("processes not recorded"));
}

TEST_CASE("a process may outlive the last snapshot") {
    Session session;
    look_at_living(session, [&session](const Snapshot&) {
        session.backend.stop_recording();
        CHECK(session.backend.snapshot(true).processes.at(0).end == "still running");
    });
    session.backend.tick();
    CHECK(session.backend.finished());
}

TEST_CASE("when nobody said hello the snapshot says that nothing was recorded") {
    Session session;
    session.run([] { return 0; });
    const Snapshot snapshot = session.backend.snapshot(true);
    REQUIRE(snapshot.notes.size() == 1);
    CHECK(snapshot.notes[0].starts_with("nothing was recorded"));
}

TEST_CASE("--pair is refused, and says what to use") {
    CaptureSettings settings;
    settings.pairs.emplace_back("my_alloc", "my_free");
    CHECK_THROWS_WITH(PreloadBackend(settings, "/shim.so"), Catch::Contains("--backend ebpf"));
}
