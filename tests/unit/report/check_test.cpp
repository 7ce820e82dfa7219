// The verb check: exit codes and the guilty paths.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/cli/commands.h"
#include "userspace/error.h"

using namespace unfreed;

namespace {

struct Result {
    int exit_code = 0;
    std::string output;
};

// Runs `check WORDS`, with what it prints.
Result check(const TemporaryFolder& folder, std::vector<std::string> words) {
    CLI::App app;
    Verb chosen;
    add_check_command(app, chosen);
    words.insert(words.begin(), "check");
    std::reverse(words.begin(), words.end());
    app.parse(words);

    const int standard_output = dup(STDOUT_FILENO);
    const int file = open((folder / "output").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    REQUIRE(dup2(file, STDOUT_FILENO) == STDOUT_FILENO);
    close(file);
    Result result;
    try {
        result.exit_code = chosen();
    } catch (const Error& error) {
        result = {error.exit_code, error.what()};
    }
    dup2(standard_output, STDOUT_FILENO);
    close(standard_output);
    std::ifstream printed(folder / "output");
    result.output.append(std::istreambuf_iterator<char>(printed), {});
    return result;
}

}  // namespace

TEST_CASE("a limit that is kept is exit code 0, a broken one 1 with the guilty paths") {
    const TemporaryFolder folder;
    write_pprof(profile_of({{{"main", "guilty", "malloc"}, 2000}, {{"main", "small", "malloc"}, 48}}),
                folder / "p");
    const Result kept = check(folder, {"--max-bytes", "2KiB", "--max-blocks", "2", folder / "p"});
    CHECK(kept.exit_code == 0);
    CHECK(kept.output ==
          "kept: not freed 2,048 bytes, limit 2,048 bytes\nkept: not freed 2 blocks, limit 2 blocks\n");
    const Result broken = check(folder, {"--max-bytes", "2047", "--top", "1", folder / "p"});
    CHECK(broken.exit_code == kExitCheckFailed);
    CHECK_THAT(broken.output, Catch::StartsWith("broken: not freed 2,048 bytes, limit 2,047 bytes\n"));
    CHECK_THAT(broken.output, Catch::Contains("guilty") && !Catch::Contains("small"));
    CHECK(check(folder, {"--max-blocks", "1", folder / "p"}).exit_code == kExitCheckFailed);
}

TEST_CASE("limits are on what the filters leave") {
    const TemporaryFolder folder;
    write_pprof(profile_of({{{"main", "cache", "malloc"}, 2000}, {{"main", "malloc"}, 48}}), folder / "p");
    CHECK(check(folder, {"--max-bytes", "100", "--ignore", "cache", folder / "p"}).exit_code == 0);
}

TEST_CASE("growth since a baseline is measured against its limit, which is none by default") {
    const TemporaryFolder folder;
    write_pprof(profile_of({{{"main", "grows", "malloc"}, 100}}), folder / "before");
    write_pprof(profile_of({{{"main", "grows", "malloc"}, 150}}), folder / "after");
    const auto with = [&](std::vector<std::string> words) {
        words.insert(words.end(), {"--baseline", folder / "before", folder / "after"});
        return check(folder, words);
    };
    CHECK(with({"--max-growth", "50"}).exit_code == 0);
    const Result grown = with({});
    CHECK(grown.exit_code == kExitCheckFailed);
    CHECK_THAT(grown.output, Catch::StartsWith("broken: grew by 50 bytes, limit 0 bytes\n"));
    CHECK_THAT(grown.output, Catch::Contains("#1 +50 B"));
    CHECK(check(folder, {"--baseline", folder / "after", folder / "before"}).exit_code == 0);
}

TEST_CASE("a check without a limit is a wrong command line") {
    const TemporaryFolder folder;
    const Result result = check(folder, {folder / "p"});
    CHECK(result.exit_code == kExitUsage);
    CHECK_THAT(result.output, Catch::Contains("no limit is given"));
}
