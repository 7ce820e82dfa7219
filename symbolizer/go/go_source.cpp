#include "symbolizer/go/go_source.h"

namespace unfreed::symbolizer::go {

std::unique_ptr<GoSource> GoSource::open(const ElfFile& file) {
    auto symbols = GoSymbols::open(file.elf());
    if (!symbols) return nullptr;
    return std::unique_ptr<GoSource>(new GoSource(*std::move(symbols)));
}

void GoSource::name(std::span<Query> queries, FunctionTable& functions) {
    for (Query& query : queries) {
        if (query.whole) continue;
        const std::vector<GoFrame> frames = symbols_.lookup(query.address);
        if (frames.empty() || frames.back().function.empty()) continue;
        if (frames.back().file.empty()) {
            query.owner_fallback = frames.back().function;
            continue;
        }
        for (const GoFrame& frame : frames)
            query.lines.push_back(
                {functions.intern(std::string(frame.function), std::string(frame.file), frame.start_line),
                 frame.line});
        query.whole = true;
    }
}

}  // namespace unfreed::symbolizer::go
