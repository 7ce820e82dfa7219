// The mappings that one process asked for and still has, cut and moved as munmap, mprotect and mremap do it.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace unfreed::ebpf {

class Regions {
  public:
    struct Region {
        std::uint64_t end = 0;        // of its pages
        std::uint64_t asked_end = 0;  // where the bytes end that were asked for; at most `end`
        std::uint64_t stack = 0;
        std::uint64_t block = 0;  // the same for the pieces of one mapping, of no two mappings
        std::uint32_t epoch = 0;
        bool reserved = false;  // no access: addresses, not memory
    };

    using Pieces = std::map<std::uint64_t, Region>;  // by first address; they do not overlap

    // The program mapped `bytes` at `begin`, in place of what was there.
    void map(std::uint64_t begin, std::uint64_t bytes, bool reserved, std::uint64_t stack,
             std::uint32_t epoch);
    // The pieces that were known and are gone.
    Pieces unmap(std::uint64_t begin, std::uint64_t bytes);
    // mremap, in three events, since another thread may map the old place before the call is heard to have
    // returned: what the thread is about to move; that it has (nothing: it moves none, but copies); or could
    // not.
    void take_off(std::uint64_t thread, std::uint64_t begin, std::uint64_t bytes);
    std::optional<Pieces> moved(std::uint64_t thread);
    void put_back(std::uint64_t thread);
    // mprotect: what was reserved is opened, or the other way round. Gives what became memory.
    struct Opened {
        std::uint64_t stack;
        std::uint64_t bytes;
    };
    std::vector<Opened> protect(std::uint64_t begin, std::uint64_t bytes, bool reserved, std::uint32_t epoch);

    // All that is memory, piece by piece. `blocks`: 1 with the first piece of a mapping, 0 with its others: a
    // mapping is one block as long as any of it is left.
    using Visit =
        std::function<void(std::uint64_t begin, const Region&, std::uint64_t bytes, std::uint32_t blocks)>;
    void for_each(const Visit& visit) const;

  private:
    using Place = Pieces::iterator;
    std::vector<Place> cut_out(std::uint64_t begin, std::uint64_t end);
    void split(std::uint64_t address);
    static std::uint64_t bytes_of(const std::pair<const std::uint64_t, Region>& region);

    std::uint64_t last_block_ = 0;
    Pieces regions_;
    std::map<std::uint64_t, Pieces> moving_;  // by thread; still the program's
};

}  // namespace unfreed::ebpf
