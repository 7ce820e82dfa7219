#include "userspace/cli/memory_look.h"

#include <utility>

#include "userspace/error.h"
#include "userspace/rss/table.h"

namespace unfreed {

MemoryLook::MemoryLook(const Backend& backend) {
    for (const pid_t pid : backend.living()) {
        try {
            rss::Measurement look(pid);
            backend.for_each_block(pid, [&](const Backend::LiveBlock& block) {
                look.add_block(block.address, block.bytes, block.weight, block.domain);
            });
            look.check_it_is_there();
            looks_.emplace_back(pid, std::move(look));
        } catch (const Error& error) {  // it may have ended meanwhile: the others are what there is
            notes_.push_back(std::string("not in the table of where the memory is: ") + error.what());
        }
    }
}

void MemoryLook::finish(Snapshot& snapshot, const std::string& when) {
    std::vector<rss::Measured> measured;
    for (auto& [pid, look] : looks_) {
        for (const LiveMapping& mapping : snapshot.mappings)
            if (snapshot.processes[mapping.process].pid == static_cast<std::uint32_t>(pid))
                look.add_mapping(mapping.start, mapping.bytes, mapping.stack);
        measured.push_back(look.finish(snapshot.domains));
    }
    if (!measured.empty()) {
        snapshot.memory = rss::table(measured);
        if (!when.empty()) snapshot.memory.of += ", " + when;
    }
    snapshot.memory.notes.insert(snapshot.memory.notes.end(), notes_.begin(), notes_.end());
}

}  // namespace unfreed
