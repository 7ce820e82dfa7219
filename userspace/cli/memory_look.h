// MemoryLook: where the memory of the traced processes is at one moment, with what was traced in them. Taken
// before the Snapshot, because a process may end at any moment, and finished with it: the call paths of
// mappings are the Snapshot's.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "userspace/capture/backend.h"
#include "userspace/rss/measure.h"

namespace unfreed {

class MemoryLook {
  public:
    // Never throws: a process that cannot be looked at is in the notes.
    explicit MemoryLook(const Backend& backend);

    // No process was alive that could be looked at.
    bool empty() const { return looks_.empty(); }

    // Fills `snapshot.memory`. `when`: of the look, when it is not the snapshot's moment; else empty.
    void finish(Snapshot& snapshot, const std::string& when);

  private:
    std::vector<std::pair<pid_t, rss::Measurement>> looks_;
    std::vector<std::string> notes_;
};

}  // namespace unfreed
