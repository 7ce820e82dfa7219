// The Go programs of these tests: open, and what their tools print.
#pragma once
#include <fcntl.h>
#include <libelf.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "symbolizer/go/go_symbols.h"

namespace unfreed::testing {

using symbolizer::go::GoSymbols;

inline std::string program(const std::string& name) {
    return std::string(GO_PROGRAMS) + "/" + name;
}

struct OpenProgram {
    explicit OpenProgram(const std::string& name) : descriptor(open(program(name).c_str(), O_RDONLY)) {
        elf_version(EV_CURRENT);
        elf.reset(elf_begin(descriptor, ELF_C_READ_MMAP, nullptr));
        symbols = GoSymbols::open(elf.get());
    }
    ~OpenProgram() { close(descriptor); }
    std::uint64_t entry(std::uint64_t index) const { return symbols->table().entry(index).value(); }
    std::uint64_t count() const { return symbols->table().function_count(); }
    std::uint64_t address_of(const std::string& function) const {
        for (std::uint64_t i = 0; i < count(); ++i)
            if (symbols->lookup(entry(i)).back().function == function) return entry(i);
        return 0;
    }

    int descriptor;
    std::unique_ptr<Elf, decltype(&elf_end)> elf{nullptr, elf_end};
    std::optional<GoSymbols> symbols;
};

inline std::vector<std::string> output_of(const std::string& command) {
    std::vector<std::string> lines;
    const std::unique_ptr<FILE, decltype(&pclose)> pipe(popen(command.c_str(), "r"), pclose);
    std::string line;
    for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe.get())) != EOF;) {
        if (c == '\n')
            lines.push_back(std::exchange(line, {}));
        else
            line.push_back(static_cast<char>(c));
    }
    return lines;
}

// 0: there is no such symbol in the program's text.
inline std::uint64_t symbol_address(const std::string& name, const std::string& symbol) {
    for (const std::string& line : output_of(std::string(GO_COMMAND) + " tool nm " + program(name))) {
        std::istringstream words(line);
        std::string address, kind, found;
        words >> address >> kind >> found;
        if (found == symbol && (kind == "T" || kind == "t")) return std::stoull(address, nullptr, 16);
    }
    return 0;
}

}  // namespace unfreed::testing
