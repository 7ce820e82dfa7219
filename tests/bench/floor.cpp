// floor PID: the floor of `unfreed attach PID`. The same probes at the same places of the same files, with
// programs that only count; so what the process takes beyond native is its traps alone. Says "attached", ends
// when the process has ended, and prints "allocations N frees N".
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "count.skel.h"
#include "userspace/capture/ebpf/code_file.h"
#include "userspace/capture/ebpf/code_mappings.h"
#include "userspace/capture/ebpf/uprobe_multi.h"
#include "userspace/error.h"

namespace {

using namespace unfreed;
using namespace unfreed::ebpf;

struct Destroy {
    void operator()(count* programs) const { count__destroy(programs); }
};

std::unique_ptr<count, Destroy> load() {
    std::unique_ptr<count, Destroy> programs(count__open());
    if (!programs) throw Error("floor", std::strerror(errno), "free memory");
    bpf_program__set_expected_attach_type(programs->progs.count_allocation, kUprobeSession);
    bpf_program__set_expected_attach_type(programs->progs.count_free, kUprobeMulti);
    bpf_program__set_expected_attach_type(programs->progs.count_inside, kUprobeMulti);
    if (const int error = count__load(programs.get()); error != 0) {
        throw Error("floor", fmt::format("the kernel refuses its programs ({})", std::strerror(-error)),
                    "be root, on Linux 6.13 or newer (probe sessions)");
    }
    return programs;
}

void attach(pid_t pid, const CodeFile& file, const count& programs, std::vector<Descriptor>& links) {
    std::vector<Probe> allocating, inside, freeing;
    for (const FoundFunction& found : file.functions()) {
        if (!found.probed) continue;
        for (const FoundFunction::Inside& place : found.inside)
            inside.push_back({place.probe_offset, place.cookie});
        if (found.function.kind < UF_CALL_FREE && found.inside.empty())
            allocating.push_back({found.probe_offset, 0});
        if (found.function.kind == UF_CALL_FREE) freeing.push_back({found.probe_offset, 0});
    }
    const auto link = [&](const bpf_program* program, bpf_attach_type type, std::span<const Probe> probes) {
        if (probes.empty()) return;
        links.emplace_back(create_multi_link(bpf_program__fd(program), type, pid,
                                             fmt::format("/proc/self/fd/{}", file.descriptor()), probes));
        if (!links.back()) {
            throw Error("floor", fmt::format("the kernel refuses its probes ({})", std::strerror(errno)),
                        "be root, on Linux 6.13 or newer (probe sessions)");
        }
    };
    link(programs.progs.count_free, kUprobeMulti, freeing);
    link(programs.progs.count_inside, kUprobeMulti, inside);
    link(programs.progs.count_allocation, kUprobeSession, allocating);
}

void run(pid_t pid) {
    const Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    const auto mappings = read_code_mappings(pid);
    if (!process || !mappings) throw Error(fmt::format("process {}", pid), "there is none", "check its id");

    const auto programs = load();
    const Functions functions({});
    std::set<FileId> seen;
    std::vector<Descriptor> links;
    for (const CodeMapping& mapping : *mappings) {
        if (mapping.file.inode == 0 || !seen.insert(mapping.file).second) continue;
        attach(pid, CodeFile(open_mapped_file(pid, mapping), functions), *programs, links);
    }
    fmt::print("attached\n");
    std::fflush(stdout);
    pollfd ended{process.get(), POLLIN, 0};
    while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
    }
    fmt::print("allocations {} frees {}\n", programs->bss->allocations, programs->bss->frees);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return kExitUsage;
    try {
        run(std::atoi(argv[1]));
    } catch (const Error& error) {
        fmt::print(stderr, "unfreed: {}\n", error.what());
        return error.exit_code;
    }
}
