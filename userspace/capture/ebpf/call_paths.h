// Stacks as the kernel numbers them, made into paths of the Snapshot's tree: whose call was it, by which
// function, along which frames.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "bpf/contract/capture.h"
#include "userspace/capture/ebpf/functions.h"
#include "userspace/capture/ebpf/process_image.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed::ebpf {

struct CallPath {
    NodeIndex leaf = 0;  // 0: no stack known
    ProcessIndex process = kNone;
    std::uint32_t function = 0;
    uf_end end = UF_END_REACHED;
    bool by_program = true;  // false: a mapping that an allocator, libc or the loader made for itself
};

class CallPaths {
  public:
    explicit CallPaths(const Functions& functions) : functions_(functions) {}

    // A stack of the kernel's, once it is known; a stack that is known already stays as it is.
    void add(std::uint64_t stack, const ProcessImage& image, std::uint32_t function, uf_end end,
             std::span<const std::uint64_t> frames);
    const CallPath* find(std::uint64_t stack) const;
    // Does some call on the path return to `address`?
    bool goes_through(const CallPath& path, std::uint64_t address) const;
    std::size_t size() const { return paths_.size(); }

    // Copies the tree.
    void write(Snapshot& into) const;

  private:
    void name_function(const ProcessImage& image, std::span<const std::uint64_t>& frames, CallPath& path);
    void name_mapping(const ProcessImage& image, std::span<const std::uint64_t>& frames, CallPath& path);
    std::optional<std::uint32_t> called_function(const CodeFile& file, std::uint64_t return_address);
    // The outermost node of a goroutine that was created by the call that returns to `address`; 0: it was
    // not.
    NodeIndex creation(const ProcessImage& image, std::uint64_t address);
    FrameIndex frame(const ProcessImage& image, std::uint64_t kernel_frame);
    FrameIndex intern(const Frame& frame);
    NodeIndex node(NodeIndex caller, FrameIndex frame);

    struct PairHash {
        std::size_t operator()(const std::pair<std::uint64_t, std::uint64_t>& pair) const {
            return (pair.first * 0x9e3779b97f4a7c15ull) ^
                   (pair.second + (pair.first >> 7)) * 0xc2b2ae3d27d4eb4full;
        }
    };
    const Functions& functions_;
    std::unordered_map<std::uint64_t, CallPath> paths_;  // by the kernel's id of the stack
    std::unordered_map<std::pair<std::uint64_t, std::uint64_t>, std::optional<std::uint32_t>, PairHash>
        called_;
    std::vector<Frame> frames_;
    std::vector<Node> nodes_{Node{kNone, kNone}};
    std::unordered_map<std::pair<std::uint64_t, std::uint64_t>, FrameIndex, PairHash> frame_at_;
    std::unordered_map<std::pair<std::uint64_t, std::uint64_t>, NodeIndex, PairHash> node_at_;
};

}  // namespace unfreed::ebpf
