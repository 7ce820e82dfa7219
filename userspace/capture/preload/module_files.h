// Keeps hold of files that a process mapped as code and that its path does not lead to any more: deleted,
// replaced by an update, or in another root. While the process lives the kernel still hands them out.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <utility>

#include "userspace/process/descriptor.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed {

class ModuleFiles {
  public:
    // Looks through the mappings of a living process; keeps what needs keeping and is not kept yet.
    void look_at(pid_t pid, ProcessIndex process);

    // Sets open_path of the modules that are kept. The paths work in this process, as long as this object
    // lives.
    void name_kept(Snapshot& snapshot) const;

  private:
    using FileId = std::pair<dev_t, ino_t>;
    std::map<FileId, Descriptor> files_;  // each once, however many processes map it
    // (process, first address of the code) of the mappings whose file is kept.
    std::map<std::pair<ProcessIndex, std::uint64_t>, int> descriptors_;
};

}  // namespace unfreed
