// The traced processes: their probes, their code, their beginning and end. Turns the kernel's events into
// changes of these, and keeps the kernel's view of their code (slots, ranges) up to date.
#pragma once
#include <sys/types.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "userspace/capture/ebpf/code_files.h"
#include "userspace/capture/ebpf/kernel_side.h"
#include "userspace/capture/ebpf/link_closer.h"
#include "userspace/capture/ebpf/process_image.h"
#include "userspace/capture/ebpf/range_space.h"
#include "userspace/process/descriptor.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed::ebpf {

class Processes {
  public:
    Processes(const CaptureSettings& settings, const Functions& functions, const KernelSide& kernel)
        : settings_(settings), functions_(functions), kernel_(kernel), files_(functions, kernel) {}

    // A running process, from now on; with --follow its descendants too. Error when it cannot be.
    void attach(pid_t pid);
    // Our own child, which is to exec `executable`: probes on what will serve it, recording from its exec on.
    void expect_exec(pid_t pid, const std::string& executable);

    void on_code(const uf_event& event);  // executable mappings changed: to be looked at by refresh_changed()
    void refresh_changed();
    void on_fork(const uf_event& event);
    void on_exec(const uf_event& event);
    void on_exit(const uf_event& event);

    // The image with this kernel id; nullptr: unknown (yet).
    ProcessImage* image(std::uint32_t id);
    // Looks at its mappings again, for code that is not known.
    void refresh(ProcessImage& image);

    // The images that have ended since the last call, and no other one's blocks have keys like theirs.
    std::vector<ProcessImage*> take_ended();

    void set_end(pid_t pid, const std::string& end);
    // Ends that no event told of; ranges that no walk can stand on any more.
    void tick();
    bool all_ended() const { return alive_.empty(); }
    std::vector<pid_t> living() const;
    void detach();

    // Processes and modules, and what was missed.
    void write(Snapshot& into);
    const std::map<std::uint32_t, std::unique_ptr<ProcessImage>>& images() const { return images_; }

  private:
    // A living process: what stays over its execs.
    struct Traced {
        std::uint32_t slot = 0;
        pid_t pid = 0;
        Descriptor pidfd;
        std::vector<Descriptor> links;
        std::set<const CodeFile*> probed;
        ProcessImage* image = nullptr;
        RangeSpace::Window window;
    };

    Traced& add(pid_t pid);
    ProcessImage& add_image(Traced& traced, std::uint32_t id, bool shown);
    bool probe(Traced& traced, const CodeFile& file);
    void refresh(Traced& traced, bool first);
    void show(ProcessImage& image, CodeModule& module, std::string path);
    void take_from_kernel(Traced& traced);
    void publish(Traced& traced);
    void end(Traced& traced);
    void follow_children(pid_t pid);
    std::uint32_t new_image_id() const;

    const CaptureSettings settings_;
    const Functions& functions_;
    const KernelSide& kernel_;
    CodeFiles files_;
    RangeSpace ranges_;
    LinkCloser closer_;
    std::map<pid_t, std::unique_ptr<Traced>> alive_;
    std::map<std::uint32_t, std::unique_ptr<ProcessImage>> images_;  // by kernel id; ended ones too
    std::set<std::uint32_t> changed_;                                // ids of images
    std::vector<ProcessImage*> ended_;                               // since take_ended()
    std::vector<bool> slots_;
    std::vector<Process> processes_;
    std::vector<Module> modules_;
    std::map<ProcessIndex, Descriptor> awaited_;  // ended, but how is not known yet: their pidfds
    std::set<std::string> unsafe_;                // functions left alone: see KernelSide::restores_returns()
    std::uint64_t unfollowed_ = 0;                // children that could not be followed
};

}  // namespace unfreed::ebpf
