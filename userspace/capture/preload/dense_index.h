// DenseIndex: a hash index over elements that the caller keeps in a vector, by their positions there. Flat,
// and eight bytes a slot, because what is indexed can be hundreds of thousands of call paths.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace unfreed {

// All bits of the result depend on all bits of the key (the finalizer of MurmurHash3).
constexpr std::uint64_t mix_bits(std::uint64_t key) {
    key = (key ^ (key >> 33)) * 0xff51afd7ed558ccdull;
    key = (key ^ (key >> 33)) * 0xc4ceb9fe1a85ec53ull;
    return key ^ (key >> 33);
}

class DenseIndex {
  public:
    DenseIndex() : slots_(64, kEmpty) {}

    // The position of the element for which equals(position) holds; when none does, `next`, which is in the
    // index from now on: the caller appends the element there.
    template <class Equals>
    std::uint32_t find_or_add(std::uint64_t hash, std::uint32_t next, const Equals& equals) {
        const std::uint64_t tag = hash & kTag;
        std::size_t at = home(hash);
        for (; slots_[at] != kEmpty; at = (at + 1) & (slots_.size() - 1)) {
            const auto position = static_cast<std::uint32_t>(slots_[at]);
            if ((slots_[at] & kTag) == tag && equals(position)) return position;
        }
        slots_[at] = tag | next;
        if (++used_ * 3 > slots_.size() * 2) grow();
        return next;
    }

  private:
    static constexpr std::uint64_t kEmpty = ~0ull;  // no position is UINT32_MAX
    static constexpr std::uint64_t kTag = ~0ull << 32;

    // A slot keeps the upper half of the hash, which alone says where it belongs: so it can be moved.
    std::size_t home(std::uint64_t hash) const { return (hash >> 32) & (slots_.size() - 1); }

    void grow() {
        std::vector<std::uint64_t> old(slots_.size() * 2, kEmpty);
        old.swap(slots_);
        for (const std::uint64_t slot : old) {
            if (slot == kEmpty) continue;
            std::size_t at = home(slot);
            while (slots_[at] != kEmpty) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = slot;
        }
    }

    std::vector<std::uint64_t> slots_;
    std::size_t used_ = 0;
};

}  // namespace unfreed
