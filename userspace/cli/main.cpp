// The unfreed command.
//   1. Words after -- belong to the command that `run` starts: no option parser sees them.
//   2. The rest names a verb, and the verb declares its own options.
//   3. The verb runs; its result is the exit code.
//   4. Whatever cannot be done is one line on standard error and a documented exit code (userspace/error.h).
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "userspace/cli/commands.h"
#include "userspace/cli/say.h"
#include "userspace/error.h"

namespace {

int fail(std::string line, int exit_code) {
    std::replace(line.begin(), line.end(), '\n', ' ');
    unfreed::say("unfreed: {}\n", line);
    return exit_code;
}

// A standard stream that we were started without must not become a descriptor of something else, which
// messages would then be written into. To the command that `run` starts it is closed, as it would be alone.
void fill_closed_standard_streams() {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != stream) return;
}

// What a program is measured beside should be small. Left alone, malloc raises its threshold with each large
// block that is freed, and then keeps the symbol tables' memory: a quarter more beside a compiler.
void give_large_blocks_back() {
    constexpr int kLarge = 128 << 10;
    mallopt(M_MMAP_THRESHOLD, kLarge);
    mallopt(M_TRIM_THRESHOLD, kLarge);
}

int run_verb(int argument_count, char** arguments) {
    // 1.
    const std::vector<std::string> words(arguments + std::min(argument_count, 1), arguments + argument_count);
    const auto separator = std::find(words.begin(), words.end(), "--");
    std::vector<std::string> ours(words.begin(), separator);
    std::vector<std::string> command;
    if (!words.empty() && words.front() == "run" && separator != words.end())
        command.assign(separator + 1, words.end());
    else
        ours = words;

    // 2.
    CLI::App app("Which memory a program has not freed, and which code asked for it.", "unfreed");
    unfreed::Verb chosen;
    app.set_version_flag("--version", "unfreed " UNFREED_VERSION);
    app.require_subcommand(1);
    unfreed::add_run_command(app, command, chosen);
#ifdef UNFREED_HAS_EBPF
    unfreed::add_attach_command(app, chosen);
#endif
    unfreed::add_report_command(app, chosen);
    unfreed::add_diff_command(app, chosen);
    unfreed::add_check_command(app, chosen);
    unfreed::add_rss_command(app, chosen);
    std::reverse(ours.begin(), ours.end());  // as CLI11 wants them
    try {
        app.parse(ours);
    } catch (const CLI::Success& wanted) {  // --help, --version
        return app.exit(wanted);
    } catch (const CLI::ParseError& error) {
        const auto named = [&](const CLI::App* verb) { return verb->get_name() == words.front(); };
        if (!words.empty() && !words.front().starts_with('-') && app.get_subcommands(named).empty())
            return fail(fmt::format("{}: there is no such verb; see unfreed --help", words.front()),
                        unfreed::kExitUsage);
        const bool is_verb = !words.empty() && !app.get_subcommands(named).empty();
        const std::string what_to_do = !is_verb ? "see unfreed --help"
                                       : words.front() == "run" && separator == words.end()
                                           ? "unfreed run [options] -- COMMAND [ARG...]"
                                           : fmt::format("see unfreed {} --help", words.front());
        return fail(fmt::format("wrong command line: {}; {}", error.what(), what_to_do), unfreed::kExitUsage);
    }

    // 3.
    return chosen();
}

}  // namespace

int main(int argument_count, char** arguments) {
    give_large_blocks_back();
    fill_closed_standard_streams();
    // 4.
    try {
        return run_verb(argument_count, arguments);
    } catch (const unfreed::Error& error) {
        return fail(error.what(), error.exit_code);
    } catch (const std::bad_alloc&) {
        return fail("out of memory: the system gave no more; end other processes",
                    unfreed::kExitUnfreedFailed);
    } catch (const std::exception& error) {
        return fail(fmt::format("an error in unfreed: {}; please report it", error.what()),
                    unfreed::kExitUnfreedFailed);
    }
}
