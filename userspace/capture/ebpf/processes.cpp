#include "userspace/capture/ebpf/processes.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "userspace/capture/ebpf/needed_libraries.h"
#include "userspace/error.h"
#include "userspace/process/process_facts.h"

namespace unfreed::ebpf {
namespace {

Descriptor open_pidfd(pid_t pid) {
    return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

// Of all its threads: each has a list of those that it forked.
std::vector<pid_t> children_of(pid_t pid) {
    std::vector<pid_t> children;
    std::error_code gone;
    std::filesystem::directory_iterator thread(fmt::format("/proc/{}/task", pid), gone);
    for (; !gone && thread != std::filesystem::directory_iterator(); thread.increment(gone)) {
        std::ifstream list(thread->path() / "children");
        for (pid_t child = 0; list >> child;) children.push_back(child);
    }
    return children;
}

// Where the file is now, or was when it was deleted.
std::string path_of(const CodeFile& file) {
    std::error_code ignored;
    return std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", file.descriptor()), ignored)
        .string();
}

}  // namespace

const CodeModule* ProcessImage::module_at(std::uint64_t address) const {
    const auto after =
        std::upper_bound(modules.begin(), modules.end(), address,
                         [](std::uint64_t value, const CodeModule& m) { return value < m.begin; });
    if (after == modules.begin()) return nullptr;
    const CodeModule& module = *std::prev(after);
    return address < module.end ? &module : nullptr;
}

std::uint32_t Processes::new_image_id() const {
    return __atomic_add_fetch(&kernel_.control().last_process, 1, __ATOMIC_RELAXED);
}

Processes::Traced& Processes::add(pid_t pid) {
    const auto free_slot = std::find(slots_.begin(), slots_.end(), false);
    const auto slot = static_cast<std::uint32_t>(free_slot - slots_.begin());
    if (slot >= UF_BPF_SLOTS) {
        throw Error("process " + std::to_string(pid),
                    fmt::format("{} processes are traced already", UF_BPF_SLOTS), "use --no-follow");
    }
    if (free_slot == slots_.end()) slots_.push_back(false);
    auto traced = std::make_unique<Traced>();
    traced->slot = slot;
    traced->pid = pid;
    traced->pidfd = open_pidfd(pid);
    if (!traced->pidfd) throw Error("process " + std::to_string(pid), "there is none", "check its id");
    slots_[slot] = true;
    return *(alive_[pid] = std::move(traced));
}

ProcessImage& Processes::add_image(Traced& traced, std::uint32_t id, bool shown) {
    auto image = std::make_unique<ProcessImage>();
    image->id = id;
    image->pid = traced.pid;
    if (shown) {
        image->index = static_cast<ProcessIndex>(processes_.size());
        Process process;
        process.pid = static_cast<std::uint32_t>(traced.pid);
        process.name = process_name(traced.pid);
        process.executable = process_executable(traced.pid);
        process.end = "still running";
        processes_.push_back(process);
    }
    traced.image = image.get();
    return *(images_[id] = std::move(image));
}

void Processes::attach(pid_t pid) {
    Traced& traced = add(pid);
    const std::uint32_t id = new_image_id();
    add_image(traced, id, true);
    kernel_.set_slot(traced.slot, {0, static_cast<std::uint32_t>(pid), 0});
    // Tables first, then probes, then recording: no block is recorded whose stack could not be walked.
    kernel_.set_pid(pid, traced.slot);
    try {
        refresh(traced, true);
    } catch (...) {
        end(traced);
        alive_.erase(pid);
        throw;
    }
    kernel_.set_slot(traced.slot, {id, static_cast<std::uint32_t>(pid), 0});
    if (settings_.follow) follow_children(pid);
}

void Processes::follow_children(pid_t pid) {
    for (const pid_t child : children_of(pid)) {
        if (alive_.contains(child)) continue;
        try {
            attach(child);
        } catch (const Error&) {
            ++unfollowed_;
        }
    }
}

void Processes::expect_exec(pid_t pid, const std::string& executable) {
    Traced& traced = add(pid);
    // Process 0: nothing is recorded until the kernel sees the exec and gives the image its id.
    kernel_.set_slot(traced.slot, {0, static_cast<std::uint32_t>(pid), 0});
    kernel_.set_pid(pid, traced.slot);
    for (const std::string& path : libraries_of(executable)) {
        if (const CodeFile* const file = files_.of_path(path)) probe(traced, *file);
    }
    files_.hand_over();
}

bool Processes::probe(Traced& traced, const CodeFile& file) {
    if (!traced.probed.insert(&file).second) return false;
    KernelSide::Probes probes;
    bool wraps = false;
    for (const FoundFunction& found : file.functions()) {
        const Function& function = found.function;
        if (!found.probed) continue;
        if (found.may_throw && !kernel_.restores_returns()) {
            unsafe_.insert(functions_.names()[function.index] + " of " + path_of(file));
            continue;
        }
        std::uint64_t cookie = UF_COOKIE(traced.slot, function.index, function.kind);
        if (function.wraps) cookie |= UF_COOKIE_WRAPS;
        if (function.kind == UF_CALL_ASK && function.is_operator && !function.aligned)
            cookie |= UF_COOKIE_ASKS_SAME;
        if (function.kind == UF_CALL_ASK)
            cookie |= std::min<std::uint64_t>(found.size, 1u << 21) << UF_COOKIE_CODE_SHIFT;
        for (const FoundFunction::Inside& place : found.inside)
            probes.inside.push_back(
                {place.probe_offset, UF_COOKIE(traced.slot, function.index, 0) | place.cookie});
        if (!found.inside.empty()) continue;
        auto& list = function.kind == UF_CALL_FREE     ? probes.freeing
                     : function.kind == UF_CALL_ASK    ? probes.asking
                     : function.makes_matrix()         ? probes.shaping
                     : function.kind == UF_CALL_UNWIND ? probes.unwinding
                                                       : probes.allocating;
        list.push_back({found.probe_offset, cookie});
        wraps = wraps || function.wraps;
    }
    if (probes.empty()) return false;
    if (wraps) kernel_.set_wraps(traced.slot);
    kernel_.attach(traced.pid, file.descriptor(), probes, traced.links);
    return !probes.allocating.empty() || !probes.inside.empty();
}

void Processes::refresh(Traced& traced, bool first) {
    ProcessImage& image = *traced.image;
    auto mappings = read_code_mappings(traced.pid);
    if (!mappings) {
        if (first)
            throw Error("process " + std::to_string(traced.pid), "it ended meanwhile",
                        "nothing was recorded");
        take_from_kernel(traced);
        return;
    }
    if (*mappings == image.mappings && !first) return;
    std::vector<CodeModule> modules;
    for (const CodeMapping& mapping : *mappings) {
        CodeModule module;
        module.begin = mapping.begin;
        module.end = mapping.end;
        module.file = files_.of_mapping(traced.pid, mapping);
        const auto bias = module.file ? module.file->bias(mapping.begin, mapping.offset) : std::nullopt;
        // Without one it is mapped in a way of its own (a JIT's cache): no table fits.
        if (!bias) module.file = nullptr;
        module.bias = bias.value_or(0);
        show(image, module, mapping.path);
        modules.push_back(module);
    }
    files_.hand_over();
    image.modules = std::move(modules);
    image.mappings = std::move(*mappings);
    publish(traced);
    bool new_probes = false;
    for (const CodeModule& module : image.modules) {
        if (module.file != nullptr) new_probes = probe(traced, *module.file) || new_probes;
    }
    if (new_probes && !first) image.late = true;
}

// Gives the mapping its module in the Snapshot: one per file, over all its stretches of code, also when they
// are mapped again; one per stretch of anonymous code.
void Processes::show(ProcessImage& image, CodeModule& module, std::string path) {
    if (image.index == kNone) return;
    const auto key = std::pair(module.file, module.file != nullptr ? module.bias : module.begin);
    const auto [known, is_new] = image.shown.try_emplace(key, static_cast<ModuleIndex>(modules_.size()));
    module.module = known->second;
    if (!is_new) {
        Module& shown = modules_[known->second];
        shown.start = std::min(shown.start, module.begin);
        shown.end = std::max(shown.end, module.end);
        return;
    }
    Module shown;
    shown.process = image.index;
    if (module.file != nullptr) {
        shown.build_id = module.file->build_id();
        // Deleted, replaced, or in another root: the open file still is what was mapped.
        if (path != "[vdso]" && access(path.c_str(), R_OK) != 0) {
            shown.open_path = fmt::format("/proc/self/fd/{}", module.file->descriptor());
        }
    }
    constexpr std::string_view kDeleted = " (deleted)";
    if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
    shown.path = path.empty() ? "[jit]" : path;
    shown.start = module.begin;
    shown.end = module.end;
    shown.bias = module.bias;
    modules_.push_back(shown);
}

// A process that ended before we read its maps: what the kernel noted of its code.
void Processes::take_from_kernel(Traced& traced) {
    ProcessImage& image = *traced.image;
    const uf_fresh fresh = kernel_.fresh(traced.slot);
    if (fresh.process != image.id) return;
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(fresh.count, UF_BPF_FRESH); ++i) {
        const uf_range& range = fresh.ranges[i];
        const CodeFile* const file = files_.of_table(range.table);
        if (file == nullptr || image.module_at(range.begin) != nullptr) continue;
        CodeModule module;
        module.begin = range.begin;
        module.end = range.end;
        module.bias = range.base - file->table().base;
        module.file = file;
        show(image, module, path_of(*file));
        const auto at =
            std::upper_bound(image.modules.begin(), image.modules.end(), module.begin,
                             [](std::uint64_t value, const CodeModule& m) { return value < m.begin; });
        image.modules.insert(at, module);
    }
}

// The kernel's view of the code: new ranges beside the old ones, then the switch to them.
void Processes::publish(Traced& traced) {
    const ProcessImage& image = *traced.image;
    std::vector<uf_range> ranges;
    for (const CodeModule& module : image.modules) {
        uf_range range{};
        range.begin = module.begin;
        range.end = module.end;
        if (module.file != nullptr && module.file->kernel_table_known) {
            range.base = module.bias + module.file->table().base;
            range.table = module.file->kernel_table;
            range.rows = static_cast<std::uint32_t>(module.file->table().rows.size());
        }
        ranges.push_back(range);
    }
    const auto window = ranges_.take(static_cast<std::uint32_t>(ranges.size()));
    if (!window) return;  // stacks that meet the new code end there, and are counted
    kernel_.set_ranges(window->first, ranges);
    const std::uint32_t generation =
        __atomic_add_fetch(&kernel_.control().last_generation, 1, __ATOMIC_RELAXED);
    kernel_.set_code(traced.slot, {image.id, generation, window->first, window->count, 0, image.fresh_seen});
    ranges_.give_back(std::exchange(traced.window, *window));
}

void Processes::refresh(ProcessImage& image) {
    const auto found = alive_.find(image.pid);
    if (found == alive_.end() || found->second->image != &image) return;
    try {
        refresh(*found->second, false);
    } catch (const Error&) {
        image.late = true;  // it ends just now, or runs on without probes on what it brought
    }
}

// The maps are read once for all the events that come together: a JIT maps and protects many times in a row.
void Processes::on_code(const uf_event& event) {
    ProcessImage* const known = image(event.process);
    if (known == nullptr) return;
    known->fresh_seen = std::max(known->fresh_seen, event.flags);
    changed_.insert(known->id);
}

void Processes::refresh_changed() {
    for (const std::uint32_t id : std::exchange(changed_, {})) refresh(*image(id));
}

void Processes::on_fork(const uf_event& event) {
    const auto parent = alive_.find(image(event.process) != nullptr ? image(event.process)->pid : -1);
    const auto pid = static_cast<pid_t>(event.pid);
    if (!settings_.follow || parent == alive_.end() || alive_.contains(pid)) return;
    try {
        Traced& child = add(pid);
        const std::uint32_t id = new_image_id();
        ProcessImage& new_image = add_image(child, id, true);
        new_image.late = true;
        processes_[new_image.index].by_fork = true;
        // Its code is its parent's, so far: its first stacks need not wait until its maps are read.
        new_image.modules = parent->second->image->modules;
        for (CodeModule& module : new_image.modules) {
            const ModuleIndex shown = module.module;
            show(new_image, module, shown == kNone ? std::string() : modules_[shown].path);
        }
        publish(child);
        kernel_.set_slot(child.slot, {id, event.pid, 0});
        kernel_.set_pid(pid, child.slot);
        refresh(child, true);
    } catch (const Error&) {
        ++unfollowed_;
        const auto child = alive_.find(pid);
        if (child != alive_.end()) {
            end(*child->second);
            alive_.erase(child);
        }
    }
}

void Processes::on_exec(const uf_event& event) {
    const auto pid = static_cast<pid_t>(event.pid);
    const auto found = alive_.find(pid);
    if (found == alive_.end()) return;
    Traced& traced = *found->second;
    if (traced.image != nullptr) {
        traced.image->current = false;
        ended_.push_back(traced.image);
        if (traced.image->index != kNone) {
            processes_[traced.image->index].end = "replaced by exec of " + process_name(pid);
        }
    }
    add_image(traced, event.process, true);
    try {
        refresh(traced, false);
    } catch (const Error&) {
        traced.image->late = true;  // without probes on what it brought
    }
}

void Processes::on_exit(const uf_event& event) {
    const auto found = alive_.find(static_cast<pid_t>(event.pid));
    if (found == alive_.end() || found->second->slot != event.slot) return;
    if (found->second->image != nullptr) take_from_kernel(*found->second);
    end(*found->second);
    alive_.erase(found);
}

void Processes::end(Traced& traced) {
    closer_.close(std::move(traced.links));
    kernel_.forget_pid(traced.pid);
    kernel_.set_slot(traced.slot, {0, 0, 0});
    kernel_.set_code(traced.slot, {});
    kernel_.forget_calls(traced.slot);
    ranges_.give_back(traced.window);
    slots_[traced.slot] = false;
    if (traced.image == nullptr) return;
    traced.image->current = false;
    ended_.push_back(traced.image);
    if (traced.image->index != kNone) {
        processes_[traced.image->index].end = "ended";
        awaited_[traced.image->index] = std::move(traced.pidfd);
    }
}

std::vector<ProcessImage*> Processes::take_ended() {
    std::set<std::uint32_t> in_use;
    for (const auto& [pid, traced] : alive_) {
        if (traced->image != nullptr) in_use.insert(UF_KEY_PROCESS(UF_LIVE_KEY(0, traced->image->id)));
    }
    std::vector<ProcessImage*> taken, kept;
    for (ProcessImage* const image : ended_) {
        (in_use.contains(UF_KEY_PROCESS(UF_LIVE_KEY(0, image->id))) ? kept : taken).push_back(image);
    }
    ended_ = std::move(kept);
    return taken;
}

ProcessImage* Processes::image(std::uint32_t id) {
    const auto found = images_.find(id);
    return found == images_.end() ? nullptr : found->second.get();
}

std::vector<pid_t> Processes::living() const {
    std::vector<pid_t> pids;
    for (const auto& alive : alive_) pids.push_back(alive.first);
    return pids;
}

void Processes::set_end(pid_t pid, const std::string& end) {
    for (Process& process : processes_) {
        if (process.pid == static_cast<std::uint32_t>(pid) &&
            (process.end == "still running" || process.end == "ended")) {
            process.end = end;
        }
    }
}

void Processes::tick() {
    ranges_.tick();
    for (auto at = alive_.begin(); at != alive_.end();) {
        pollfd ended{at->second->pidfd.get(), POLLIN, 0};
        if (poll(&ended, 1, 0) == 1) {
            end(*at->second);
            at = alive_.erase(at);
        } else {
            ++at;
        }
    }
}

void Processes::detach() {
    for (auto& [pid, traced] : alive_) traced->links.clear();
}

void Processes::write(Snapshot& into) {
    for (auto& [index, pidfd] : awaited_) {
        Process& process = processes_[index];
        if (process.end != "ended") continue;
        pollfd gone{pidfd.get(), POLLIN, 0};
        poll(&gone, 1, 200);  // it is on its way out
        if (const auto status = ended_status(static_cast<pid_t>(process.pid), pidfd.get())) {
            process.end = describe_end(*status);
        }
    }
    into.processes = processes_;
    into.modules = modules_;
    std::uint64_t late = 0;
    for (const auto& [id, image] : images_) late += image->late && image->index != kNone;
    if (late != 0) {
        into.losses.push_back(
            {"processes or libraries that ran a moment before their probes were live (what they "
             "allocated in it is missing)",
             late});
    }
    for (const std::string& name : unsafe_) {
        into.notes.push_back(
            "not recorded: " + name +
            " (it may throw, and this kernel is locked down so that its return cannot be probed)");
    }
    std::set<std::string> unknown;  // Go programs
    for (const auto& [id, image] : images_) {
        for (const CodeModule& module : image->modules) {
            const bool is_go = module.file != nullptr && !module.file->table().go.newproc.empty();
            if (settings_.go_created_by && is_go && !module.file->table().go.creation_known &&
                module.module != kNone)
                unknown.insert(modules_[module.module].path);
        }
    }
    for (const std::string& path : unknown) {
        into.notes.push_back("not known where goroutines were created: " + path +
                             " (its version of Go keeps that in a way that unfreed does not know)");
    }
    for (const auto& [allocate, free] : settings_.pairs) {
        for (const std::string& symbol : {allocate, free}) {
            if (files_.have(functions_.find(symbol)->index)) continue;
            into.notes.push_back("--pair: no symbol " + symbol +
                                 " in any file of the traced programs (C++ names as nm prints them)");
        }
    }
    if (unfollowed_ != 0) {
        into.losses.push_back(
            {"child processes that could not be followed, nor what they started (most ended as soon as "
             "they began)",
             unfollowed_});
    }
}

}  // namespace unfreed::ebpf
