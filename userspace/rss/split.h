// Takes bytes out of parts: what of a part's pages holds free chunks, or blocks that were traced. Ranges are
// counted as far as they are resident or swapped, to the byte, so that what is left and what is taken out add
// up to the part as it was.
#pragma once
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "userspace/rss/live_process.h"
#include "userspace/rss/part.h"

namespace unfreed::rss {

class Split {
  public:
    struct Bytes {
        double resident = 0, swapped = 0;
        void add(Bytes more, double times) {
            resident += more.resident * times;
            swapped += more.swapped * times;
        }
    };

    // `areas`: sorted, apart; where a part's pages lie.
    Split(const LiveProcess& process, std::vector<Claim> areas);

    // The area that an address is in; nullptr: none.
    const Claim* area_of(std::uint64_t address);
    // The first area that ends behind an address, or past the last one.
    std::size_t first_behind(std::uint64_t address) const;
    const std::vector<Claim>& areas() const { return areas_; }

    // How much of [start, start + bytes) is there, within the area of `start`.
    Bytes count(std::uint64_t start, std::uint64_t bytes);

    // Of the part that `from` is, `bytes` are `to`.
    void move(const Part& from, const Part& to, Bytes bytes);

    // Moves never take more than there is.
    void apply(std::map<Part, Amount>& parts) const;

  private:
    struct Pages {  // how many of an area's first n pages are there
        std::vector<std::uint32_t> resident, swapped;
    };
    const Pages& pages_of(std::size_t area);

    LiveProcess process_;
    std::vector<Claim> areas_;
    std::vector<Pages> pages_;  // by area; empty until asked for
    std::size_t last_ = 0;      // neighbours come one after the other
    std::map<std::pair<Part, Part>, Bytes> moves_;
};

}  // namespace unfreed::rss
