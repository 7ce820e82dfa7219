// The reader on whole programs that Go's own tools made, function by function: against `go tool nm`, `go tool
// addr2line`, and what the running program says of itself.
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>

#include "tests/unit/go/programs.h"

namespace {
using unfreed::symbolizer::go::GoFrame;
using unfreed::testing::OpenProgram;
using unfreed::testing::output_of;
using unfreed::testing::program;

// A symbol's name as the line table writes it: without its calling convention, and with [...] for what stands
// in brackets (cmd/link, pcln.go: nameOff). Symbols of types that modules share are hashed (symtab.go:
// mangleTypeSym).
std::string table_name(std::string name) {
    for (const std::string suffix : {".abi0", ".abiinternal"})
        if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
    if (name.starts_with("type..")) return "type..";
    const auto open = name.find('['), close = name.rfind(']');
    if (open != std::string::npos && close != std::string::npos && open < close)
        name.replace(open, close - open + 1, "[...]");
    return name;
}

std::string file_or_unknown(std::string_view file) {
    return file.empty() ? "?" : std::string(file);
}

struct Spoken {  // a line that the program printed
    std::string kind, function, file;
    std::uint64_t address = 0;
    unsigned line = 0;
};

std::vector<Spoken> what_says(const std::string& name, const OpenProgram& seen, unsigned stride) {
    std::ostringstream command;
    command << program(name) << std::hex << ' ' << seen.address_of("main.anchor") << ' ' << seen.entry(0)
            << ' ' << seen.entry(seen.count()) << ' ' << stride;
    std::vector<Spoken> all;
    for (const std::string& line : output_of(command.str())) {
        std::istringstream words(line);
        Spoken spoken;
        std::string number;
        std::getline(words, spoken.kind, '\t');
        std::getline(words, number, '\t');
        spoken.address = std::stoull(number, nullptr, 16);
        std::getline(words, number, '\t');
        spoken.line = static_cast<unsigned>(std::stoul(number));
        std::getline(words, spoken.function, '\t');
        std::getline(words, spoken.file, '\t');
        all.push_back(spoken);
    }
    return all;
}

}  // namespace

TEST_CASE("every function of go tool nm has its name, in every build mode") {
    const std::string name = GENERATE("plain", "pie", "cshared", "plugin", "pure");
    CAPTURE(name);
    const OpenProgram seen(name);
    REQUIRE(seen.symbols);
    std::map<std::uint64_t, std::vector<std::string>> symbols;  // several names may share an address
    for (const std::string& line : output_of(std::string(GO_COMMAND) + " tool nm " + program(name))) {
        std::istringstream words(line);
        std::string address, kind, symbol;
        words >> address >> kind >> std::ws;
        std::getline(words, symbol);
        if (kind == "T" || kind == "t") symbols[std::stoull(address, nullptr, 16)].push_back(symbol);
    }
    std::uint64_t named = 0;
    for (std::uint64_t i = 0; i < seen.count(); ++i) {
        const std::string ours(seen.symbols->lookup(seen.entry(i)).back().function);
        bool agrees = false;
        std::string theirs;
        for (const std::string& symbol : symbols[seen.entry(i)]) {
            agrees |= table_name(symbol) == table_name(ours);
            theirs += symbol + " ";
        }
        CAPTURE(ours, theirs);
        CHECK(agrees);
        ++named;
    }
    CHECK(named > 1000);
}

TEST_CASE("stripping takes nothing away") {
    const std::string name = GENERATE("plain", "pie", "cshared", "plugin", "pure");
    CAPTURE(name);
    const OpenProgram whole(name), stripped(name + "_stripped");
    REQUIRE(stripped.symbols);
    CHECK(stripped.symbols->has_inlines());
    REQUIRE(stripped.count() == whole.count());
    std::uint64_t inlined = 0, different = 0;
    for (std::uint64_t i = 0; i < whole.count(); ++i) {
        for (std::uint64_t at = 0; at < 64 && whole.entry(i) + at < whole.entry(i + 1); at += 9) {
            const auto a = whole.symbols->lookup(whole.entry(i) + at);
            const auto b = stripped.symbols->lookup(stripped.entry(i) + at);
            different +=
                !std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const GoFrame& x, const GoFrame& y) {
                    return x.function == y.function && x.file == y.file && x.line == y.line;
                });
            inlined += a.size() > 1;
        }
    }
    CHECK(different == 0);
    CHECK(inlined > 100);
}

TEST_CASE("go tool addr2line says the same file, line and function for every function") {
    const OpenProgram seen("pure");
    REQUIRE(seen.symbols);
    const std::string asked = program("addresses");
    std::vector<std::uint64_t> addresses;
    {
        std::ofstream file(asked);
        for (std::uint64_t i = 0; i < seen.count(); ++i) {
            for (const std::uint64_t at : {seen.entry(i), (seen.entry(i) + seen.entry(i + 1)) / 2}) {
                addresses.push_back(at);
                file << "0x" << std::hex << at << '\n';
            }
        }
    }
    const auto answers =
        output_of(std::string(GO_COMMAND) + " tool addr2line " + program("pure") + " < " + asked);
    REQUIRE(answers.size() == addresses.size() * 2);
    std::uint64_t different = 0;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const auto frames = seen.symbols->lookup(addresses[i]);
        const GoFrame& inner = frames.front();  // addr2line says ":-1" between functions
        const std::string where =
            inner.file.empty() ? ":-1" : std::string(inner.file) + ":" + std::to_string(inner.line);
        const bool same = table_name(answers[2 * i]) == table_name(std::string(frames.back().function)) &&
                          answers[2 * i + 1] == where;
        if (!same)
            UNSCOPED_INFO(answers[2 * i] << " " << answers[2 * i + 1] << " is here " << frames.back().function
                                         << " " << where);
        different += !same;
    }
    CHECK(different == 0);
}

TEST_CASE("a running program says the same of every part of its code") {
    const std::string name = GENERATE("plain", "pie", "plain_stripped", "pie_stripped");
    CAPTURE(name);
    const OpenProgram seen(name);
    REQUIRE(seen.symbols);
    std::uint64_t compared = 0, different = 0;
    for (const Spoken& spoken : what_says(name, seen, 0x1d)) {
        if (spoken.kind != "at") continue;
        ++compared;
        const auto frames = seen.symbols->lookup(spoken.address);
        // Go's runtime takes the first of all names, at offset 0, for none.
        const bool same_name =
            !frames.empty() && (frames[0].function == spoken.function ||
                                (spoken.function.empty() && spoken.address < seen.entry(1)));
        const bool same =
            same_name && file_or_unknown(frames[0].file) == spoken.file && frames[0].line == spoken.line;
        if (!same && ++different < 5)
            UNSCOPED_INFO(std::hex << spoken.address << std::dec << " " << spoken.function << " "
                                   << spoken.file << ":" << spoken.line << " is here "
                                   << (frames.empty() ? "nothing" : std::string(frames[0].function)) << " "
                                   << (frames.empty() ? 0 : frames[0].line));
    }
    CHECK(compared > 10000);
    CHECK(different == 0);
}

TEST_CASE("a running program's own stack has the same frames, inlined ones expanded") {
    const std::string name = GENERATE("plain", "pie", "plain_stripped", "pie_stripped");
    CAPTURE(name);
    const OpenProgram seen(name);
    REQUIRE(seen.symbols);
    std::vector<std::string> functions;
    std::vector<GoFrame> expected;  // the rest of the frames at the address that was looked up last
    for (const Spoken& spoken : what_says(name, seen, 0x100000)) {
        if (spoken.kind == "at") continue;
        if (expected.empty()) expected = seen.symbols->lookup(spoken.address);
        REQUIRE_FALSE(expected.empty());
        CHECK(expected.front().function == spoken.function);
        CHECK(expected.front().file == spoken.file);
        CHECK(expected.front().line == spoken.line);
        CHECK((expected.size() == 1) == (spoken.kind == "owner"));
        expected.erase(expected.begin());
        functions.push_back(spoken.function);
    }
    CHECK(functions == std::vector<std::string>{"main.report", "main.inner", "main.middle",
                                                "main.(*finder).scan.func1", "main.each[...]",
                                                "main.(*finder).scan", "main.main", "runtime.main",
                                                "runtime.goexit"});
}
