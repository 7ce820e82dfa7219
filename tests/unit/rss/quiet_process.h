// A process of the test's own that says one line when it has come to rest, and stays so until the test is
// done.
#pragma once
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

extern char** environ;

namespace unfreed::testing {

class QuietProcess {
  public:
    explicit QuietProcess(std::vector<std::string> command) {
        std::array<int, 2> input{}, output{};
        if (pipe(input.data()) != 0 || pipe(output.data()) != 0) throw std::runtime_error("no pipe");
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, input[0], 0);
        posix_spawn_file_actions_adddup2(&actions, output[1], 1);
        for (const int end : {input[0], input[1], output[0], output[1]})
            if (end > 1) posix_spawn_file_actions_addclose(&actions, end);
        std::vector<char*> words;
        for (std::string& word : command) words.push_back(word.data());
        words.push_back(nullptr);
        const int error = posix_spawnp(&pid_, words[0], &actions, nullptr, words.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        close(input[0]);
        close(output[1]);
        end_ = input[1];
        if (error == 0)
            for (char c = 0; read(output[0], &c, 1) == 1 && c != '\n';) line_.push_back(c);
        close(output[0]);
        if (error != 0 || line_.empty()) throw std::runtime_error(command[0] + " did not start");
    }
    ~QuietProcess() {
        close(end_);
        waitpid(pid_, nullptr, 0);
    }
    QuietProcess(const QuietProcess&) = delete;
    QuietProcess& operator=(const QuietProcess&) = delete;

    pid_t pid() const { return pid_; }
    const std::string& line() const { return line_; }

  private:
    pid_t pid_ = 0;
    int end_ = -1;
    std::string line_;
};

}  // namespace unfreed::testing
