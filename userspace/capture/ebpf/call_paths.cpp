#include "userspace/capture/ebpf/call_paths.h"

#include <algorithm>
#include <filesystem>

#include "bpf/contract/capture.h"

namespace unfreed::ebpf {
namespace {

// Address of the call that a frame returns to, in its file's symbol table.
std::uint64_t call_address(const CodeModule& module, std::uint64_t frame) {
    const std::uint64_t pc = frame & ~UF_FRAME_EXACT;
    return (frame & UF_FRAME_EXACT ? pc : pc - 1) - module.bias;
}

bool is_loader(const CodeModule& module, const ProcessImage& image) {
    for (const CodeMapping& mapping : image.mappings) {
        if (mapping.begin <= module.begin && module.begin < mapping.end) {
            const std::string name = std::filesystem::path(mapping.path).filename();
            return name.starts_with("ld-") || name.starts_with("ld.so");
        }
    }
    return false;
}

}  // namespace

void CallPaths::add(std::uint64_t stack, const ProcessImage& image, std::uint32_t function, uf_end end,
                    std::span<const std::uint64_t> frames) {
    if (paths_.contains(stack)) return;
    CallPath path;
    path.process = image.index;
    path.function = function;
    path.end = end;
    if (function >= UF_FUNCTION_BRK) {
        name_mapping(image, frames, path);
    } else {
        name_function(image, frames, path);
    }
    if (path.by_program) {
        NodeIndex at = 0;
        if (!frames.empty() && (frames.back() & UF_FRAME_CREATION)) {
            at = creation(image, frames.back() & ~UF_FRAME_CREATION);
            frames = frames.first(frames.size() - 1);
        }
        for (auto frame_at = frames.rbegin(); frame_at != frames.rend(); ++frame_at) {
            at = node(at, frame(image, *frame_at));
        }
        Frame leaf;
        leaf.kind = Frame::Kind::kFunction;
        leaf.function = path.function;
        path.leaf = node(at, intern(leaf));
    }
    paths_.emplace(stack, path);
}

// The probe stands on the innermost function; the one that counts is the outermost that the program called:
// operator new that calls malloc, or one of two names for the same code.
void CallPaths::name_function(const ProcessImage& image, std::span<const std::uint64_t>& frames,
                              CallPath& path) {
    while (!frames.empty()) {
        const CodeModule* const module = image.module_at(frames.front() & ~UF_FRAME_EXACT);
        if (module == nullptr || module->file == nullptr) return;
        const std::uint64_t address = call_address(*module, frames.front());
        const FoundFunction* const inside = module->file->function_at(address);
        if (inside == nullptr || !inside->function.allocates()) {
            if (const auto called = called_function(*module->file, address + 1)) path.function = *called;
            return;
        }
        path.function = inside->function.index;
        frames = frames.subspan(1);
    }
}

// The program's own calls go through the linkage table of the module they are in; libc's, malloc's and the
// loader's own do not; of brk, libc calls it within malloc alone, so any other is the program's. Where the
// leaf is not in libc (a static program, Go), everything counts but what an allocator does.
void CallPaths::name_mapping(const ProcessImage& image, std::span<const std::uint64_t>& frames,
                             CallPath& path) {
    const bool is_break = path.function == UF_FUNCTION_BRK;
    path.function = functions_.of_system_call(path.function);
    path.by_program = false;
    if (frames.empty()) return;
    for (const std::uint64_t frame : frames) {
        const CodeModule* const module = image.module_at(frame & ~UF_FRAME_EXACT);
        if (module == nullptr || module->file == nullptr) continue;
        const FoundFunction* const inside = module->file->function_at(call_address(*module, frame));
        if (inside != nullptr && inside->function.kind <= UF_CALL_FREE) return;  // within an allocator
    }
    const CodeModule* const leaf = image.module_at(frames[0] & ~UF_FRAME_EXACT);
    // The first frame outside of the libraries that made the system call: libc, or an allocator that hooks
    // mmap.
    std::size_t outer = 1;
    const auto module_of = [&](std::size_t frame) {
        return image.module_at(frames[frame] & ~UF_FRAME_EXACT);
    };
    const auto is_between = [&](const CodeModule* module) {
        return module != nullptr &&
               (module == leaf || (module->file != nullptr && module->file->is_allocator()));
    };
    while (outer < frames.size() && is_between(module_of(outer))) ++outer;
    if (outer < frames.size()) {
        const CodeModule* const caller = module_of(outer);
        if (caller != nullptr && caller->file != nullptr && !is_loader(*caller, image)) {
            const auto index = called_function(*caller->file, frames[outer] - caller->bias);
            if (index && functions_.domain_of(*index) == Functions::kMmapDomain) {
                path.function = *index;
                path.by_program = true;
                frames = frames.subspan(outer);
                return;
            }
            if (!index && is_break) {  // by a jump, which leaves no frame, or by a function of libc's
                path.by_program = true;
                frames = frames.subspan(outer);
                return;
            }
        }
    }
    if (leaf == nullptr || leaf->file == nullptr) {
        path.by_program = true;  // code made at run time
        return;
    }
    path.by_program = !leaf->file->is_allocator() && !is_loader(*leaf, image);
}

// Which function of ours the call before a return address names. Remembered: it takes reads of the file.
std::optional<std::uint32_t> CallPaths::called_function(const CodeFile& file, std::uint64_t return_address) {
    const auto key = std::pair(reinterpret_cast<std::uint64_t>(&file), return_address);
    const auto [known, is_new] = called_.try_emplace(key);
    if (!is_new) return known->second;
    known->second = functions_.index_of(file.called_symbol(return_address));
    if (!known->second) {
        const FoundFunction* const direct = file.called_function(return_address);
        if (direct != nullptr) known->second = direct->function.index;
    }
    return known->second;
}

NodeIndex CallPaths::creation(const ProcessImage& image, std::uint64_t address) {
    const CodeModule* const module = image.module_at(address - 1);
    if (module == nullptr || module->file == nullptr ||
        !module->file->starts_goroutine(address - module->bias))
        return 0;
    Frame frame;
    frame.kind = Frame::Kind::kCreation;
    frame.address = address;
    frame.module = module->module;
    return node(0, intern(frame));
}

FrameIndex CallPaths::frame(const ProcessImage& image, std::uint64_t kernel_frame) {
    Frame frame;
    frame.address = kernel_frame & ~UF_FRAME_EXACT;
    frame.kind = kernel_frame & UF_FRAME_EXACT ? Frame::Kind::kExact : Frame::Kind::kReturn;
    if (const CodeModule* const module = image.module_at(frame.address)) frame.module = module->module;
    return intern(frame);
}

FrameIndex CallPaths::intern(const Frame& frame) {
    const std::uint64_t what = std::uint64_t{frame.module} << 34 | std::uint64_t{frame.function} << 2 |
                               static_cast<std::uint64_t>(frame.kind);
    const auto [at, is_new] =
        frame_at_.try_emplace({frame.address, what}, static_cast<FrameIndex>(frames_.size()));
    if (is_new) frames_.push_back(frame);
    return at->second;
}

NodeIndex CallPaths::node(NodeIndex caller, FrameIndex frame) {
    const auto [at, is_new] = node_at_.try_emplace({caller, frame}, static_cast<NodeIndex>(nodes_.size()));
    if (is_new) nodes_.push_back({caller, frame});
    return at->second;
}

const CallPath* CallPaths::find(std::uint64_t stack) const {
    const auto found = paths_.find(stack);
    return found == paths_.end() ? nullptr : &found->second;
}

bool CallPaths::goes_through(const CallPath& path, std::uint64_t address) const {
    for (NodeIndex node = path.leaf; node != 0; node = nodes_[node].caller) {
        const Frame& frame = frames_[nodes_[node].frame];
        if (frame.kind == Frame::Kind::kReturn && frame.address == address) return true;
    }
    return false;
}

void CallPaths::write(Snapshot& into) const {
    into.frames = frames_;
    into.nodes = nodes_;
}

}  // namespace unfreed::ebpf
