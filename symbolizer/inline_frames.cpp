#include "symbolizer/inline_frames.h"

#include <dwarf.h>

#include <algorithm>

namespace unfreed::symbolizer {
namespace {

constexpr int kDeepest = 256;  // blocks within blocks: real code has dozens, a damaged file has what it likes

using Indices = std::vector<std::uint32_t>;  // into the addresses, ascending

class TreeWalk {
  public:
    TreeWalk(std::span<const std::uint64_t> addresses, std::vector<FrameDies>& frames)
        : addresses_(addresses), frames_(frames) {}

    // Functions are mostly children of the unit or of a namespace. `everywhere` also looks inside types and
    // inside functions that do not hold the address: methods in Rust, functions nested in others.
    void enter(Dwarf_Die parent, const Indices& wanted, bool everywhere, int depth = 0) {
        Dwarf_Die die;
        if (wanted.empty() || depth > kDeepest || dwarf_child(&parent, &die) != 0) return;
        for (;;) {
            visit(die, wanted, everywhere, depth);
            Dwarf_Die next;
            // A sibling that is not further on would be a circle.
            if (dwarf_siblingof(&die, &next) != 0 || dwarf_dieoffset(&next) <= dwarf_dieoffset(&die)) return;
            die = next;
        }
    }

  private:
    void visit(Dwarf_Die& die, const Indices& wanted, bool everywhere, int depth) {
        switch (dwarf_tag(&die)) {
            case DW_TAG_subprogram: {
                const Indices held = held_by(die, wanted);
                for (std::uint32_t i : held) frames_[i].assign(1, die);
                enter(die, held, false, depth + 1);
                if (everywhere) enter(die, missing(wanted), true, depth + 1);
                break;
            }
            case DW_TAG_inlined_subroutine: {
                const Indices held = held_by(die, wanted);
                for (std::uint32_t i : held)
                    if (!frames_[i].empty()) frames_[i].push_back(die);
                enter(die, held, false, depth + 1);
                break;
            }
            case DW_TAG_lexical_block:
            case DW_TAG_try_block:
            case DW_TAG_catch_block:
                enter(die, everywhere ? missing(wanted) : held_by(die, wanted), everywhere, depth + 1);
                break;
            case DW_TAG_namespace:
            case DW_TAG_module:
                enter(die, wanted, everywhere, depth + 1);
                break;
            case DW_TAG_class_type:
            case DW_TAG_structure_type:
            case DW_TAG_union_type:
                if (everywhere) enter(die, missing(wanted), true, depth + 1);
                break;
            default:
                break;
        }
    }

    Indices held_by(Dwarf_Die& die, const Indices& wanted) const {
        Indices held;
        Dwarf_Addr base = 0;
        Dwarf_Addr start = 0;
        Dwarf_Addr end = 0;
        for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;) {
            if (start == 0) continue;  // code that the linker threw away
            auto i = std::lower_bound(wanted.begin(), wanted.end(), start,
                                      [&](std::uint32_t w, Dwarf_Addr a) { return addresses_[w] < a; });
            for (; i != wanted.end() && addresses_[*i] < end; ++i) held.push_back(*i);
        }
        std::sort(held.begin(), held.end());
        held.erase(std::unique(held.begin(), held.end()), held.end());
        return held;
    }

    Indices missing(const Indices& wanted) const {
        Indices result;
        for (std::uint32_t i : wanted)
            if (frames_[i].empty()) result.push_back(i);
        return result;
    }

    std::span<const std::uint64_t> addresses_;
    std::vector<FrameDies>& frames_;
};

}  // namespace

std::vector<FrameDies> find_frames(const Dwarf_Die& unit, std::span<const std::uint64_t> addresses) {
    std::vector<FrameDies> frames(addresses.size());
    Indices wanted(addresses.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = static_cast<std::uint32_t>(i);
    TreeWalk walk(addresses, frames);
    walk.enter(unit, wanted, false);
    std::erase_if(wanted, [&](std::uint32_t i) { return !frames[i].empty(); });
    walk.enter(unit, wanted, true);
    return frames;
}

}  // namespace unfreed::symbolizer
