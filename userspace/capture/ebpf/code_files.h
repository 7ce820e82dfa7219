// Every file that a traced process maps as code, read once; its unwind table given to the kernel once.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "userspace/capture/ebpf/code_file.h"
#include "userspace/capture/ebpf/code_mappings.h"
#include "userspace/capture/ebpf/kernel_side.h"

namespace unfreed::ebpf {

class CodeFiles {
  public:
    CodeFiles(const Functions& functions, const KernelSide& kernel)
        : functions_(functions), kernel_(kernel) {}

    // The file behind a mapping; nullptr: anonymous memory, or a file that cannot be opened.
    const CodeFile* of_mapping(pid_t pid, const CodeMapping& mapping);
    // A file that will be mapped later; nullptr: there is none at `path`.
    const CodeFile* of_path(const std::string& path);

    // The tables of the files that came since the last call, to the kernel.
    void hand_over();

    const CodeFile* of_table(std::uint32_t table) const;

    // Has any file so far a function of that index (Function::index)?
    bool have(std::uint32_t function) const;

  private:
    const CodeFile* keep(FileId id, std::shared_ptr<CodeFile> file);
    const CodeFile* of_descriptor(Descriptor file);

    struct Made {
        CodeFile* file;
        FileId id;
        Descriptor table;
    };

    const Functions& functions_;
    const KernelSide& kernel_;
    // One file can have two ids: /proc/PID/maps and stat name the device of an overlay differently.
    std::map<FileId, std::shared_ptr<CodeFile>> files_;
    std::vector<const CodeFile*> tables_;  // by number in the kernel
    std::vector<Made> made_;               // of these the last ones, which the kernel has not got yet
};

}  // namespace unfreed::ebpf
