// KernelSide: the loaded programs and maps (bpf/probes.bpf.c), and what can be done with them. Owner of
// everything in the kernel: nothing is pinned, so all of it goes away with this object, or with our process
// however it ends.
#pragma once
#include <bpf/libbpf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bpf/contract/capture.h"
#include "userspace/capture/backend.h"
#include "userspace/capture/ebpf/uprobe_multi.h"
#include "userspace/process/descriptor.h"

struct probes;

namespace unfreed::ebpf {

class KernelSide {
  public:
    // Error (125) that names what is missing: privilege (which capability), BTF, BPF, uprobes, memory.
    explicit KernelSide(const CaptureSettings& settings);
    ~KernelSide();
    KernelSide(const KernelSide&) = delete;
    KernelSide& operator=(const KernelSide&) = delete;

    // Probes in one file, in one process: functions that allocate (entry and return), places inside of such
    // ones, functions that free.
    // They live as long as the descriptors that are appended to `links`. Error when the kernel refuses.
    struct Probes {
        std::vector<Probe> allocating, inside, freeing, asking, shaping, unwinding;
        bool empty() const {
            return allocating.empty() && inside.empty() && freeing.empty() && asking.empty() &&
                   shaping.empty() && unwinding.empty();
        }
    };
    void attach(pid_t pid, int file, const Probes& probes, std::vector<Descriptor>& links) const;

    // No more events: what is attached besides the links goes.
    void stop();

    // Can the return of a function be probed that may throw? An exception cannot pass the trampoline that the
    // kernel puts in the return address's place, so it must be put back first: writing to user memory is an
    // administrator's, and forbidden where the kernel is locked down.
    bool restores_returns() const { return restores_returns_; }

    uf_control& control() const;
    void set_slot(std::uint32_t slot, const uf_slot& value) const;
    void set_code(std::uint32_t slot, const uf_code& value) const;
    uf_fresh fresh(std::uint32_t slot) const;
    void set_wraps(std::uint32_t slot) const;
    void forget_calls(std::uint32_t slot) const;  // of its process that ended
    void set_pid(pid_t pid, std::uint32_t slot) const;
    void forget_pid(pid_t pid) const;
    void set_ranges(std::uint32_t first, std::span<const uf_range> ranges) const;
    // A table of rows; it serves nothing before set_tables, which gives tables their numbers from `first` on.
    // All that are new at one time in one call: the kernel waits for its readers in it, some 20 ms.
    Descriptor make_table(std::span<const uf_row> rows) const;
    void set_tables(std::uint32_t first, std::span<const int> tables) const;
    void set_file(const uf_file_key& key, const uf_file& file) const;

    // Readable when one of the rings has something.
    int event_descriptor() const;
    // Calls back for everything that is in a ring now.
    using Receive = std::function<void(std::span<const std::byte>)>;
    void drain_stacks(const Receive& receive);
    void drain_events(const Receive& receive);

    // Takes what processes that have ended left out of the tables, and hands it over: nothing in the kernel
    // asks for it any more.
    void take_blocks(const std::function<bool(std::uint64_t key)>& is_left,
                     const std::function<void(const uf_block&)>& receive) const;
    void take_totals(const std::function<bool(std::uint64_t stack)>& is_left,
                     const std::function<void(std::uint64_t stack, const uf_totals&)>& receive) const;
    void take_open_calls(const std::function<bool(const uf_call&)>& is_left,
                         const std::function<void(const uf_call&)>& receive) const;
    void take_shapes(const std::function<bool(std::uint64_t stack)>& is_left,
                     const std::function<void(std::uint64_t stack, const uf_shape&)>& receive) const;

    // Copies of the tables as they are now.
    void for_each_block(const std::function<void(std::uint64_t key, const uf_block&)>& visit) const;
    void for_each_total(const std::function<void(std::uint64_t stack, const uf_totals&)>& visit) const;
    void for_each_open_call(const std::function<void(std::uint64_t key, const uf_call&)>& visit) const;
    void for_each_shape(const std::function<void(std::uint64_t stack, const uf_shape&)>& visit) const;

  private:
    struct FreeRing {
        void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
    };
    static int on_record(void* context, void* data, std::size_t size);
    void attach_one_by_one(pid_t pid, const std::string& path, std::span<const Probe> probes, int program,
                           bool on_return, std::vector<Descriptor>& links) const;

    struct DestroyLink {
        void operator()(bpf_link* link) const { bpf_link__destroy(link); }
    };
    probes* programs_ = nullptr;
    std::vector<std::unique_ptr<bpf_link, DestroyLink>> tracepoints_;
    int load(bool sessions, bool multi, bool restores_returns);
    bool restores_returns_ = false;
    bool sessions_ = false;  // the kernel has uprobe_multi with sessions (6.13)
    bool multi_ = false;     // it has uprobe_multi (6.6); else one by one
    std::unique_ptr<ring_buffer, FreeRing> stacks_;
    std::unique_ptr<ring_buffer, FreeRing> events_;
    Descriptor epoll_;
    const Receive* receiver_ = nullptr;
};

// Why the ebpf backend cannot work here, as a clause; empty: it can as far as can be seen without trying.
std::string kernel_obstacle();
std::string advice_on(const std::string& obstacle);

}  // namespace unfreed::ebpf
