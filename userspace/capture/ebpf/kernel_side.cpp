#include "userspace/capture/ebpf/kernel_side.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <numeric>

#include "probes.skel.h"
#include "userspace/capture/ebpf/uprobe_multi.h"
#include "userspace/error.h"

namespace unfreed::ebpf {
namespace {

[[noreturn]] void cannot_attach(int error) {
    if (error == ESRCH) throw Error("attach", "the process ended meanwhile", "nothing was recorded");
    throw Error("probes", fmt::format("the kernel refuses them ({})", std::strerror(error)),
                error == EPERM || error == EACCES
                    ? "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
                    : "is the kernel built with CONFIG_UPROBES?");
}

int quiet(libbpf_print_level, const char*, va_list) {
    return 0;
}

// The kernel's own words for why a program or map was refused, kept for the error's line.
std::string last_complaint;
int keep_complaint(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_WARN && last_complaint.empty()) {
        std::array<char, 256> text{};
        std::vsnprintf(text.data(), text.size(), format, arguments);
        last_complaint = text.data();
        while (!last_complaint.empty() && last_complaint.back() == '\n') last_complaint.pop_back();
    }
    return 0;
}

std::uint64_t effective_capabilities() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("CapEff:")) return std::stoull(line.substr(7), nullptr, 16);
    }
    return 0;
}

constexpr std::uint64_t kSysAdmin = 1ull << 21;

// By the smallest program that does: loading all of ours in vain takes a third of attach's time.
bool may_write_user_memory() {
    constexpr std::array<bpf_insn, 8> kProgram{{
        {BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, -8, 0},
        {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0},
        {BPF_ALU64 | BPF_ADD, BPF_REG_2, 0, 0, -8},
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 0},
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, 8},
        {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_write_user},
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    }};
    return Descriptor(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "uf_may_write", "GPL", kProgram.data(),
                                    kProgram.size(), nullptr))
               .get() >= 0;
}

// A map's memory as it is.
template <class Value>
class Mapping {
  public:
    Mapping(int map, std::size_t count)
        : bytes_(count * sizeof(Value)),
          data_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0)) {
        if (data_ == MAP_FAILED) {
            throw Error("a table in the kernel",
                        fmt::format("it cannot be mapped ({})", std::strerror(errno)), "free memory");
        }
    }
    ~Mapping() { munmap(data_, bytes_); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    std::span<Value> values() const { return {static_cast<Value*>(data_), bytes_ / sizeof(Value)}; }

  private:
    std::size_t bytes_;
    void* data_;
};

// Writes values[0, count) at `first` and on.
bool update_array(int map, std::uint32_t first, const void* values, std::size_t values_count) {
    std::vector<std::uint32_t> keys(values_count);
    std::iota(keys.begin(), keys.end(), first);
    auto count = static_cast<std::uint32_t>(values_count);
    return count == 0 || bpf_map_update_batch(map, keys.data(), values, &count, nullptr) == 0;
}

template <class Key, class Value, class Visit>
void for_each_entry(int map, Visit visit) {
    constexpr std::uint32_t kBatch = 16384;
    std::vector<Key> keys(kBatch);
    std::vector<Value> values(kBatch);
    std::uint32_t position = 0, next = 0;
    bool first = true, more = true;
    while (more) {
        std::uint32_t count = kBatch;
        const int status = bpf_map_lookup_batch(map, first ? nullptr : &position, &next, keys.data(),
                                                values.data(), &count, nullptr);
        if (status != 0 && errno != ENOENT) return;
        more = status == 0;
        for (std::uint32_t i = 0; i < count; ++i) visit(keys[i], values[i]);
        position = next;
        first = false;
    }
}

// Takes out the entries that are left.
template <class Value, class IsLeft, class Receive>
std::vector<std::uint64_t> take_entries(int map, IsLeft is_left, Receive receive) {
    std::vector<std::uint64_t> left;
    for_each_entry<std::uint64_t, Value>(map, [&](std::uint64_t key, const Value& value) {
        if (!is_left(key, value)) return;
        receive(key, value);
        left.push_back(key);
    });
    for (const std::uint64_t key : left) bpf_map_delete_elem(map, &key);
    return left;
}

}  // namespace

std::string kernel_obstacle() {
    constexpr std::uint64_t kPerfmon = 1ull << 38, kBpf = 1ull << 39;
    const std::uint64_t have = effective_capabilities();
    if (!(have & kSysAdmin)) {
        std::string missing;
        if (!(have & kBpf)) missing = "CAP_BPF";
        if (!(have & kPerfmon)) missing += missing.empty() ? "CAP_PERFMON" : " and CAP_PERFMON";
        if (!missing.empty()) return "it needs " + missing + ", which this user has not";
    }
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
        return "this kernel describes its types to nobody (no /sys/kernel/btf/vmlinux, "
               "CONFIG_DEBUG_INFO_BTF)";
    }
    if (access("/sys/bus/event_source/devices/uprobe/type", R_OK) != 0) {
        return "this kernel has no uprobes (CONFIG_UPROBE_EVENTS)";
    }
    return {};
}

std::string advice_on(const std::string& obstacle) {
    return obstacle.starts_with("it needs") ? "run as root, or give unfreed the capability (setcap)"
                                            : "use a kernel that has it, or `unfreed run --backend preload`";
}

KernelSide::KernelSide(const CaptureSettings& settings) {
    if (const std::string obstacle = kernel_obstacle(); !obstacle.empty()) {
        throw Error("the ebpf backend", obstacle, advice_on(obstacle));
    }
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);  // counts for BPF before Linux 5.11 only

    libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
    const bool restores_returns = may_write_user_memory();
    int error = load(true, true, restores_returns);
    if (error != 0) error = load(false, true, restores_returns);  // a kernel without sessions
    if (error == 0 && !sessions_ && !has_multi_links(bpf_program__fd(programs_->progs.release))) {
        probes__destroy(programs_);
        programs_ = nullptr;
        error = EINVAL;
    }
    if (error != 0) error = load(false, false, restores_returns);  // nor links of many probes
    libbpf_set_print(quiet);
    if (programs_ == nullptr) {
        throw Error(
            "the kernel", fmt::format("refuses the programs ({}: {})", std::strerror(error), last_complaint),
            error == EPERM ? "run as root, or with CAP_BPF and CAP_PERFMON; kernel lockdown forbids it too"
                           : "free memory for its tables; a kernel before 5.17 cannot run them at all");
    }
    control().depth = std::min<std::uint32_t>(settings.depth, UF_BPF_FRAMES);
    control().sample_bytes = settings.sample_bytes;
    control().go_created_by = settings.go_created_by ? 1 : 0;
    struct stat pid_namespace {};
    if (stat("/proc/self/ns/pid", &pid_namespace) == 0)
        control().pid_namespace = static_cast<std::uint32_t>(pid_namespace.st_ino);

    stacks_.reset(ring_buffer__new(bpf_map__fd(programs_->maps.stacks_ring), on_record, this, nullptr));
    events_.reset(ring_buffer__new(bpf_map__fd(programs_->maps.events_ring), on_record, this, nullptr));
    epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    for (const auto* ring : {stacks_.get(), events_.get()}) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (ring == nullptr ||
            epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ring_buffer__epoll_fd(ring), &event) != 0) {
            throw Error("the kernel", fmt::format("gives no ring buffer ({})", std::strerror(errno)),
                        "free memory, or raise the limit of open files");
        }
    }
    for (bpf_program* const program :
         {programs_->progs.sys_enter, programs_->progs.sys_exit, programs_->progs.on_fork,
          programs_->progs.on_exec, programs_->progs.on_exit}) {
        if (bpf_link* const link = bpf_program__attach(program)) {
            tracepoints_.emplace_back(link);
        } else {
            throw Error("the kernel",
                        fmt::format("refuses a tracepoint ({}: {})", bpf_program__name(program),
                                    std::strerror(errno)),
                        "CONFIG_FTRACE_SYSCALLS and CONFIG_BPF_EVENTS are needed");
        }
    }
}

int KernelSide::load(bool sessions, bool multi, bool restores_returns) {
    libbpf_set_print(keep_complaint);
    last_complaint.clear();
    programs_ = probes__open();
    if (programs_ == nullptr) return errno;
    bpf_program__set_autoload(programs_->progs.allocate, sessions);
    bpf_program__set_autoload(programs_->progs.call_entry, !sessions);
    bpf_program__set_autoload(programs_->progs.call_return, !sessions);
    bpf_program__set_autoload(programs_->progs.unwind, restores_returns);
    if (sessions) bpf_program__set_expected_attach_type(programs_->progs.allocate, kUprobeSession);
    if (multi) {
        for (bpf_program* const program :
             {programs_->progs.call_entry, programs_->progs.call_return, programs_->progs.release,
              programs_->progs.inside, programs_->progs.ask, programs_->progs.shape,
              programs_->progs.unwind}) {
            bpf_program__set_expected_attach_type(program, kUprobeMulti);
        }
    }
    const int processors = libbpf_num_possible_cpus();
    bpf_map__set_max_entries(programs_->maps.scratches,
                             static_cast<std::uint32_t>(std::max(processors, 1)) * UF_BPF_SCRATCH_PER_CPU);
    bpf_map__set_max_entries(programs_->maps.live, 1u << 21);
    const int error = -probes__load(programs_);
    if (error == 0) {
        sessions_ = sessions;
        multi_ = multi;
        restores_returns_ = restores_returns;
        return 0;
    }
    probes__destroy(programs_);
    programs_ = nullptr;
    return error;
}

KernelSide::~KernelSide() {
    stop();
    stacks_.reset();
    events_.reset();
    probes__destroy(programs_);
}

void KernelSide::stop() {
    tracepoints_.clear();
}

void KernelSide::attach(pid_t pid, int file, const Probes& probes, std::vector<Descriptor>& links) const {
    // The kernel's own link to the open file: leads to it in any root, and when it is deleted.
    const std::string path = fmt::format("/proc/self/fd/{}", file);
    const auto attach_all = [&](bpf_program* program, std::span<const Probe> all, bool on_return = false) {
        if (all.empty() || !bpf_program__autoload(program)) return;
        if (!multi_) return attach_one_by_one(pid, path, all, bpf_program__fd(program), on_return, links);
        Descriptor link(create_multi_link(
            bpf_program__fd(program), bpf_program__expected_attach_type(program), pid, path, all, on_return));
        if (!link) cannot_attach(errno);
        links.push_back(std::move(link));
    };
    // Freeing first: a block that was recorded must not miss its free.
    attach_all(programs_->progs.unwind, probes.unwinding);
    attach_all(programs_->progs.release, probes.freeing);
    attach_all(programs_->progs.ask, probes.asking);
    attach_all(programs_->progs.shape, probes.shaping);
    attach_all(programs_->progs.inside, probes.inside);
    if (sessions_) return attach_all(programs_->progs.allocate, probes.allocating);
    attach_all(programs_->progs.call_return, probes.allocating, true);
    attach_all(programs_->progs.call_entry, probes.allocating);
}

uf_control& KernelSide::control() const {
    return programs_->bss->control;
}

void KernelSide::set_slot(std::uint32_t slot, const uf_slot& value) const {
    bpf_map_update_elem(bpf_map__fd(programs_->maps.slots), &slot, &value, BPF_ANY);
}

void KernelSide::set_code(std::uint32_t slot, const uf_code& value) const {
    bpf_map_update_elem(bpf_map__fd(programs_->maps.codes), &slot, &value, BPF_ANY);
}

uf_fresh KernelSide::fresh(std::uint32_t slot) const {
    uf_fresh value{};
    bpf_map_lookup_elem(bpf_map__fd(programs_->maps.fresh), &slot, &value);
    return value;
}

void KernelSide::set_wraps(std::uint32_t slot) const {
    const std::uint32_t value = 1;
    bpf_map_update_elem(bpf_map__fd(programs_->maps.wraps), &slot, &value, BPF_ANY);
}

void KernelSide::forget_calls(std::uint32_t slot) const {
    const std::uint32_t none = 0;
    bpf_map_update_elem(bpf_map__fd(programs_->maps.wraps), &slot, &none, BPF_ANY);
    bpf_map_update_elem(bpf_map__fd(programs_->maps.asks), &slot, &none, BPF_ANY);
}

void KernelSide::set_pid(pid_t pid, std::uint32_t slot) const {
    const auto key = static_cast<std::uint32_t>(pid);
    bpf_map_update_elem(bpf_map__fd(programs_->maps.pids), &key, &slot, BPF_ANY);
}

void KernelSide::forget_pid(pid_t pid) const {
    const auto key = static_cast<std::uint32_t>(pid);
    bpf_map_delete_elem(bpf_map__fd(programs_->maps.pids), &key);
}

void KernelSide::set_ranges(std::uint32_t first, std::span<const uf_range> ranges) const {
    update_array(bpf_map__fd(programs_->maps.ranges), first, ranges.data(), ranges.size());
}

Descriptor KernelSide::make_table(std::span<const uf_row> rows) const {
    bpf_map_create_opts options{};
    options.sz = sizeof options;
    options.map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
    Descriptor map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "uf_rows", sizeof(std::uint32_t), sizeof(uf_row),
                                  static_cast<std::uint32_t>(rows.size()), &options));
    if (!map) {
        throw Error("unwind tables", fmt::format("the kernel does not take them ({})", std::strerror(errno)),
                    errno == EMFILE ? "raise the limit of open files (ulimit -Hn)"
                                    : "free memory, or trace fewer processes");
    }
    // A batch of updates costs ten times as much: the kernel copies each row by itself.
    std::ranges::copy(rows, Mapping<uf_row>(map.get(), rows.size()).values().begin());
    return map;
}

void KernelSide::set_tables(std::uint32_t first, std::span<const int> tables) const {
    const int map = bpf_map__fd(programs_->maps.tables);
    if (update_array(map, first, tables.data(), tables.size())) return;
    for (std::uint32_t i = 0; i < tables.size(); ++i) {  // a kernel before 5.19
        const std::uint32_t number = first + i;
        bpf_map_update_elem(map, &number, &tables[i], BPF_ANY);
    }
}

void KernelSide::set_file(const uf_file_key& key, const uf_file& file) const {
    bpf_map_update_elem(bpf_map__fd(programs_->maps.files), &key, &file, BPF_ANY);
}

int KernelSide::event_descriptor() const {
    return epoll_.get();
}

int KernelSide::on_record(void* context, void* data, std::size_t size) {
    (*static_cast<KernelSide*>(context)->receiver_)({static_cast<const std::byte*>(data), size});
    return 0;
}

void KernelSide::drain_stacks(const Receive& receive) {
    const Receive* const outer = std::exchange(receiver_, &receive);
    ring_buffer__consume(stacks_.get());
    receiver_ = outer;
}

void KernelSide::drain_events(const Receive& receive) {
    const Receive* const outer = std::exchange(receiver_, &receive);
    ring_buffer__consume(events_.get());
    receiver_ = outer;
}

void KernelSide::take_blocks(const std::function<bool(std::uint64_t)>& is_left,
                             const std::function<void(const uf_block&)>& receive) const {
    const Mapping<uf_line> lines(bpf_map__fd(programs_->maps.lines), UF_BPF_LINES);
    for (uf_line& line : lines.values()) {
        for (uf_place& place : line.places) {
            const std::uint64_t key = __atomic_load_n(&place.key, __ATOMIC_ACQUIRE);
            if (key == UF_PLACE_EMPTY || key == UF_PLACE_BUSY || !is_left(key)) continue;
            receive(place.block);  // it stays as it is: its process was the only one to write it
            __atomic_store_n(&place.key, UF_PLACE_EMPTY, __ATOMIC_RELEASE);
        }
    }
    const Mapping<std::uint32_t> overflows(bpf_map__fd(programs_->maps.overflows), UF_BPF_LINES);
    const auto is_left_key = [&](std::uint64_t key, const uf_block&) { return is_left(key); };
    const auto receive_block = [&](std::uint64_t, const uf_block& block) { receive(block); };
    for (const std::uint64_t key :
         take_entries<uf_block>(bpf_map__fd(programs_->maps.live), is_left_key, receive_block)) {
        __atomic_fetch_sub(&overflows.values()[UF_LINE_OF(key)], 1, __ATOMIC_RELAXED);
    }
}

void KernelSide::take_totals(const std::function<bool(std::uint64_t)>& is_left,
                             const std::function<void(std::uint64_t, const uf_totals&)>& receive) const {
    const auto is_left_key = [&](std::uint64_t stack, const uf_totals&) { return is_left(stack); };
    take_entries<uf_totals>(bpf_map__fd(programs_->maps.totals), is_left_key, receive);
}

void KernelSide::take_open_calls(const std::function<bool(const uf_call&)>& is_left,
                                 const std::function<void(const uf_call&)>& receive) const {
    take_entries<uf_call>(
        bpf_map__fd(programs_->maps.calls), [&](std::uint64_t, const uf_call& call) { return is_left(call); },
        [&](std::uint64_t, const uf_call& call) { receive(call); });
}

void KernelSide::take_shapes(const std::function<bool(std::uint64_t)>& is_left,
                             const std::function<void(std::uint64_t, const uf_shape&)>& receive) const {
    const auto is_left_key = [&](std::uint64_t stack, const uf_shape&) { return is_left(stack); };
    take_entries<uf_shape>(bpf_map__fd(programs_->maps.shapes), is_left_key, receive);
}

void KernelSide::for_each_block(const std::function<void(std::uint64_t, const uf_block&)>& visit) const {
    const Mapping<uf_line> lines(bpf_map__fd(programs_->maps.lines), UF_BPF_LINES);
    for (const uf_line& line : lines.values()) {
        for (const uf_place& place : line.places) {
            const std::uint64_t key = __atomic_load_n(&place.key, __ATOMIC_ACQUIRE);
            if (key == UF_PLACE_EMPTY || key == UF_PLACE_BUSY) continue;
            const uf_block block = place.block;
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            // Else it was freed while we read, and what we read may be of two blocks.
            if (__atomic_load_n(&place.key, __ATOMIC_RELAXED) == key) visit(key, block);
        }
    }
    for_each_entry<std::uint64_t, uf_block>(bpf_map__fd(programs_->maps.live), visit);
}
void KernelSide::for_each_total(const std::function<void(std::uint64_t, const uf_totals&)>& visit) const {
    for_each_entry<std::uint64_t, uf_totals>(bpf_map__fd(programs_->maps.totals), visit);
}
void KernelSide::for_each_open_call(const std::function<void(std::uint64_t, const uf_call&)>& visit) const {
    for_each_entry<std::uint64_t, uf_call>(bpf_map__fd(programs_->maps.calls), visit);
}
void KernelSide::for_each_shape(const std::function<void(std::uint64_t, const uf_shape&)>& visit) const {
    for_each_entry<std::uint64_t, uf_shape>(bpf_map__fd(programs_->maps.shapes), visit);
}

}  // namespace unfreed::ebpf
