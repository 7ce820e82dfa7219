#include "userspace/capture/ebpf/ebpf_backend.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "userspace/capture/ebpf/attach_target.h"
#include "userspace/capture/ebpf/call_paths.h"
#include "userspace/capture/ebpf/ended_blocks.h"
#include "userspace/capture/ebpf/kernel_side.h"
#include "userspace/capture/ebpf/processes.h"
#include "userspace/capture/ebpf/raw_walk.h"
#include "userspace/capture/ebpf/sample_groups.h"
#include "userspace/process/process_facts.h"

namespace unfreed {
namespace {

using namespace ebpf;

constexpr std::array<const char*, UF_BPF_LOSS_COUNT> kLosses{
#define UF_BPF_LOSS(identifier, text) text,
#include "bpf/contract/losses.def"
#undef UF_BPF_LOSS
};

class EbpfBackend final : public Backend {
  public:
    explicit EbpfBackend(const CaptureSettings& settings)
        : settings_(settings),
          functions_(settings.pairs),
          kernel_(settings),
          processes_(settings, functions_, kernel_),
          paths_(functions_) {}

    // Each file of code takes two descriptors, and each process some.
    void attach(pid_t pid) {
        lift_descriptor_limit();
        processes_.attach(pid);
    }

    void command_created(pid_t pid, const std::string& executable) override {
        lift_descriptor_limit();  // ours alone: the command has its own by now
        processes_.expect_exec(pid, executable);
    }
    int event_descriptor() const override { return kernel_.event_descriptor(); }
    int tick_interval_ms() const override { return 250; }
    void tick() override {
        const auto passed = std::chrono::steady_clock::now() - started_;
        now_seconds_ =
            static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(passed).count());
        kernel_.control().epoch = now_seconds_;
        processes_.tick();
    }
    void clear_tables() override;
    void process_ended(pid_t pid, int wait_status) override {
        dispatch();
        processes_.set_end(pid, describe_end(wait_status));
    }
    bool finished() const override { return processes_.all_ended(); }
    std::vector<pid_t> living() const override { return processes_.living(); }
    void for_each_block(pid_t pid, const VisitBlock& visit) const override;
    void stop_recording() override {
        processes_.detach();
        kernel_.stop();
    }

    void dispatch() override;
    Snapshot snapshot(bool last) override;

  private:
    void drain_events();
    void on_event(const uf_event& event);
    void on_stack(std::span<const std::byte> record);
    const ProcessImage* image_of(std::uint32_t id);
    void on_mapping(const uf_event& event);

    const CaptureSettings settings_;
    const pid_t owner_ = getpid();
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::uint32_t now_seconds_ = 0;
    Functions functions_;
    KernelSide kernel_;
    Processes processes_;
    CallPaths paths_;
    Totals mapped_;             // mappings ever made, by stack
    EndedBlocks ended_blocks_;  // of processes that are no longer in the kernel's tables,
    Totals ended_totals_;       // and what they ever allocated,
    std::unordered_map<std::uint64_t, uf_shape> ended_shapes_;  // and for what matrices, by stack
    std::uint32_t clear_at_ = 0;                                // second
    std::vector<uf_event> waiting_;                             // mappings whose stack has not come yet
};

void EbpfBackend::drain_events() {
    kernel_.drain_events([this](std::span<const std::byte> record) {
        uf_event event;
        if (record.size() < sizeof event) return;
        std::memcpy(&event, record.data(), sizeof event);
        on_event(event);
    });
    processes_.refresh_changed();
}

// A process is announced before its stacks are, and a stack before the mapping that it made.
void EbpfBackend::dispatch() {
    drain_events();
    kernel_.drain_stacks([this](std::span<const std::byte> record) { on_stack(record); });
    std::vector<uf_event> waiting;
    waiting.swap(waiting_);
    for (const uf_event& event : waiting) on_mapping(event);
}

// Now and then: it looks at all of the tables, some 50 ms.
void EbpfBackend::clear_tables() {
    constexpr std::uint32_t kSeconds = 2;
    if (now_seconds_ < clear_at_) return;
    clear_at_ = now_seconds_ + kSeconds;
    const std::vector<ProcessImage*> ended = processes_.take_ended();
    if (ended.empty()) return;
    dispatch();  // their last stacks
    std::vector<bool> is_ended(UF_KEY_PROCESS(UINT64_MAX) + 1);
    std::unordered_set<ProcessIndex> processes;
    for (ProcessImage* const image : ended) {
        is_ended[UF_KEY_PROCESS(UF_LIVE_KEY(0, image->id))] = true;
        processes.insert(image->index);
        image->mappings = {};
        image->shown = {};
    }
    const auto is_key = [&](std::uint64_t key) { return is_ended[UF_KEY_PROCESS(key)]; };
    const auto is_stack = [&](std::uint64_t stack) {
        const CallPath* const path = paths_.find(stack);
        return path != nullptr && processes.contains(path->process);
    };
    kernel_.take_blocks(is_key, [&](const uf_block& block) { ended_blocks_.add(block); });
    const auto is_call = [&](const uf_call& call) {
        return is_ended[UF_KEY_PROCESS(UF_LIVE_KEY(0, call.process))];
    };
    kernel_.take_open_calls(is_call, [&](const uf_call& call) {
        if (call.old.size != UF_NO_BLOCK) ended_blocks_.add(call.old);
    });
    kernel_.take_totals(is_stack, [&](std::uint64_t stack, const uf_totals& totals) {
        ended_totals_.add(stack, totals.objects, totals.bytes);
    });
    kernel_.take_shapes(is_stack, [&](std::uint64_t stack, const uf_shape& shape) {
        ended_shapes_.try_emplace(stack, shape);
    });
}

void EbpfBackend::on_event(const uf_event& event) {
    switch (event.type) {
        case UF_EVENT_CODE:
            processes_.on_code(event);
            break;
        case UF_EVENT_FORK:
            processes_.on_fork(event);
            break;
        case UF_EVENT_EXEC:
            processes_.on_exec(event);
            break;
        case UF_EVENT_EXIT:
            processes_.on_exit(event);
            break;
        default:
            waiting_.push_back(event);
            break;
    }
}

void EbpfBackend::on_mapping(const uf_event& event) {
    ProcessImage* const image = processes_.image(event.process);
    if (image == nullptr) return;
    Regions& regions = image->regions;
    if (event.type == UF_EVENT_UNMAP) {
        regions.unmap(event.address, event.length);
        return;
    }
    if (event.type == UF_EVENT_MOVE) {
        regions.take_off(event.thread, event.address, event.length);
        return;
    }
    if (event.type == UF_EVENT_STAYS) {
        regions.put_back(event.thread);
        return;
    }
    if (event.type == UF_EVENT_PROTECT) {
        const bool reserves = event.flags == PROT_NONE;
        for (const auto& opened : regions.protect(event.address, event.length, reserves, event.epoch)) {
            mapped_.add(opened.stack, 1, opened.bytes);
        }
        return;
    }
    const CallPath* const path = paths_.find(event.stack);
    bool counted = path != nullptr && path->by_program;
    bool reserved = event.type == UF_EVENT_MAP && event.flags == PROT_NONE;
    if (const auto moved = event.type == UF_EVENT_REMAP ? regions.moved(event.thread) : std::nullopt) {
        // One that was there before we came, or that an allocator made for itself, stays out of the books.
        counted = counted && !moved->empty();
        reserved = !moved->empty() && moved->begin()->second.reserved;
    }
    if (!counted) {
        regions.unmap(event.address, event.length);
        return;
    }
    regions.map(event.address, event.length, reserved, event.stack, event.epoch);
    if (!reserved) mapped_.add(event.stack, 1, event.length);
}

const ProcessImage* EbpfBackend::image_of(std::uint32_t id) {
    const ProcessImage* image = processes_.image(id);
    if (image == nullptr) {
        drain_events();
        image = processes_.image(id);
    }
    return image;
}

void EbpfBackend::on_stack(std::span<const std::byte> record) {
    uf_stack_event head;
    if (record.size() < sizeof head) return;
    std::memcpy(&head, record.data(), sizeof head);
    const ProcessImage* const image = image_of(head.process);
    if (image == nullptr) return;
    std::vector<std::uint64_t> frames;
    auto end = static_cast<uf_end>(head.end);
    if (head.type == UF_EVENT_RAW_STACK && record.size() >= sizeof(uf_raw_stack_event)) {
        uf_raw_stack_event raw;
        std::memcpy(&raw, record.data(), sizeof raw);
        const std::size_t count = std::min<std::size_t>(raw.head.count, std::size(raw.frames));
        frames.assign(raw.frames, raw.frames + count);
        if (image->module_at(raw.at.pc) == nullptr) processes_.refresh(*processes_.image(head.process));
        end = walk_raw_stack(raw, *image, settings_.depth, frames);
    } else {
        frames.resize(
            std::min<std::size_t>(head.count, (record.size() - sizeof head) / sizeof(std::uint64_t)));
        std::memcpy(frames.data(), record.data() + sizeof head, frames.size() * sizeof(std::uint64_t));
    }
    paths_.add(head.stack, *image, head.function, end, frames);
}

void EbpfBackend::for_each_block(pid_t pid, const VisitBlock& visit) const {
    constexpr std::uint64_t kAddress = UF_LIVE_KEY(0, 1) - 1;
    std::optional<std::uint64_t> its;  // the image's part of its blocks' keys
    for (const auto& [id, image] : processes_.images())
        if (image->pid == pid && image->current) its = UF_LIVE_KEY(0, id);
    if (!its) return;
    kernel_.for_each_block([&](std::uint64_t key, const uf_block& block) {
        if ((key & ~kAddress) != *its) return;
        const CallPath* const path = paths_.find(block.stack);
        const auto points = static_cast<double>(block.points * settings_.sample_bytes);
        const double weight = settings_.sample_bytes == 0
                                  ? 1
                                  : points / static_cast<double>(std::max<std::uint64_t>(block.size, 1));
        visit(
            {key & kAddress, block.size, weight, functions_.domain_of(path == nullptr ? 0 : path->function)});
    });
}

Snapshot EbpfBackend::snapshot(bool last) {
    // A numbered snapshot is written by a copy of this process: the rings are the original's to empty.
    if (getpid() == owner_) {
        if (last) stop_recording();
        dispatch();
    }
    Snapshot snapshot;
    snapshot.backend = "ebpf";
    snapshot.sample_bytes = settings_.sample_bytes;
    snapshot.depth = settings_.depth;
    snapshot.functions = functions_.names();
    snapshot.domains = functions_.domains();
    paths_.write(snapshot);
    processes_.write(snapshot);

    SampleGroups groups(functions_, paths_, processes_, settings_.sample_bytes, now_seconds_);
    kernel_.for_each_block([&](std::uint64_t, const uf_block& block) { groups.add_blocks(block, 1); });
    ended_blocks_.for_each(
        [&](const uf_block& block, std::uint64_t count) { groups.add_blocks(block, count); });
    ended_totals_.for_each([&](std::uint64_t stack, std::uint64_t objects, std::uint64_t bytes) {
        groups.add_total(stack, {objects, bytes});
    });
    kernel_.for_each_open_call([&](std::uint64_t, const uf_call& call) {
        if (call.old.size != UF_NO_BLOCK) groups.add_blocks(call.old, 1);
    });
    kernel_.for_each_total(
        [&](std::uint64_t stack, const uf_totals& totals) { groups.add_total(stack, totals); });
    for (const auto& by_id : processes_.images()) {
        const auto& image = by_id.second;
        image->regions.for_each([&](std::uint64_t begin, const Regions::Region& region, std::uint64_t bytes,
                                    std::uint32_t blocks) {
            groups.add_region(region, blocks, bytes);
            const CallPath* const path = paths_.find(region.stack);
            if (path != nullptr && image->index != kNone)
                snapshot.mappings.push_back({image->index, path->leaf, begin, bytes});
        });
    }
    mapped_.for_each([&](std::uint64_t stack, std::uint64_t objects, std::uint64_t bytes) {
        groups.add_mapped(stack, objects, bytes);
    });
    for (const auto& [stack, shape] : ended_shapes_) groups.add_shape(stack, shape);
    kernel_.for_each_shape(
        [&](std::uint64_t stack, const uf_shape& shape) { groups.add_shape(stack, shape); });
    groups.write(snapshot);
    for (std::size_t cause = 0; cause < kLosses.size(); ++cause) {
        const std::uint64_t count = kernel_.control().losses[cause];
        if (count != 0) snapshot.losses.push_back({kLosses[cause], count});
    }
    return snapshot;
}

}  // namespace

std::string ebpf_obstacle() {
    return kernel_obstacle();
}

std::unique_ptr<Backend> make_ebpf_run_backend(const CaptureSettings& settings) {
    return std::make_unique<EbpfBackend>(settings);
}

std::unique_ptr<Backend> make_ebpf_attach_backend(const CaptureSettings& settings, pid_t pid) {
    check_attach_target(pid);
    auto backend = std::make_unique<EbpfBackend>(settings);
    backend->attach(pid);
    return backend;
}

}  // namespace unfreed
