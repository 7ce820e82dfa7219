// One image of a traced process: its code, as the kernel walks it and as the Snapshot names it. From attach,
// fork or exec to exec or end.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "userspace/capture/ebpf/code_file.h"
#include "userspace/capture/ebpf/code_mappings.h"
#include "userspace/capture/ebpf/regions.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed::ebpf {

// A mapped stretch of code; stays known after dlclose, for the stacks that were seen in it.
struct CodeModule {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t bias = 0;          // address in the process = address in the file's symbol table + bias
    const CodeFile* file = nullptr;  // nullptr: anonymous
    ModuleIndex module = kNone;
};

struct ProcessImage {
    std::uint32_t id = 0;  // in the kernel
    pid_t pid = 0;
    ProcessIndex index = kNone;    // in the Snapshot; kNone: not shown (our own child before its exec)
    bool current = true;           // false: replaced by exec, or ended
    std::uint32_t fresh_seen = 0;  // uf_code.fresh_seen
    bool late = false;             // it ran before all of its probes were live
    std::vector<CodeMapping> mappings;
    std::vector<CodeModule> modules;  // by ascending `begin`: what is mapped now
    std::map<std::pair<const CodeFile*, std::uint64_t>, ModuleIndex> shown;  // by file and bias
    Regions regions;

    const CodeModule* module_at(std::uint64_t address) const;
};

}  // namespace unfreed::ebpf
