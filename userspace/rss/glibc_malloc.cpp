#include "userspace/rss/glibc_malloc.h"

#include <fcntl.h>
#include <gelf.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>

#include "userspace/process/descriptor.h"
#include "userspace/process/elf_section.h"
#include "userspace/rss/thread_areas.h"

namespace unfreed::rss {
namespace {

constexpr unsigned kOldestMinor = 27, kNewestMinor = 41;  // 2.27 to 2.41
constexpr std::size_t kFastBins = 10, kBins = 127, kCacheBins = 64;
constexpr std::uint64_t kSmallest = 32, kAlignment = 16, kFlags = 7;
constexpr std::size_t kMostArenas = 4096;
constexpr std::size_t kLongestList = 1u << 24;
constexpr int kTries = 16;

struct State {  // struct malloc_state
    std::uint32_t mutex, flags;
    std::uint64_t have_fast_chunks;
    std::array<std::uint64_t, kFastBins> fast;
    std::uint64_t top, last_remainder;
    std::array<std::array<std::uint64_t, 2>, kBins> bins;  // {first, last} of each list
    std::array<std::uint32_t, 4> map;
    std::uint64_t next, next_free, attached_threads, system_bytes, most_system_bytes;
};
static_assert(sizeof(State) == 2200);
constexpr std::uint64_t kBinsOffset = 112;

struct Chunk {  // struct malloc_chunk, of a free one
    std::uint64_t size_before, size, forward, back;
    std::uint64_t bytes() const { return size & ~kFlags; }
};

// The lists were changed while they were read.
struct Changed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A list's head as a chunk: the bins lie where its forward and back pointers would.
constexpr std::uint64_t head_of(std::uint64_t arena, std::size_t bin) {
    return arena + kBinsOffset + bin * 16 - offsetof(Chunk, forward);
}

class Reader {
  public:
    Reader(const LiveProcess& process, unsigned minor) : process_(process), minor_(minor) {}

    std::optional<State> state(std::uint64_t at) const { return process_.read<State>(at); }

    // Does it look like an arena that has been used? Both ends of every list lead back to it.
    bool is_arena(std::uint64_t at, const State& state) const {
        for (std::size_t bin = 0; bin < kBins; ++bin) {
            const std::uint64_t head = head_of(at, bin);
            const auto [first, last] = state.bins[bin];
            if ((first == head) != (last == head)) return false;
            if (first == head) continue;
            const auto a = chunk(first), b = chunk(last);
            if (!a || !b || a->back != head || b->forward != head) return false;
        }
        return state.system_bytes != 0 && state.system_bytes <= state.most_system_bytes &&
               state.top % kAlignment == 0;
    }

    std::optional<Chunk> chunk(std::uint64_t at) const { return process_.read<Chunk>(at); }

    MallocArena arena(std::uint64_t at) const {
        for (int i = 0;; ++i) {
            try {
                return arena_now(at);
            } catch (const Changed&) {
                if (i == kTries) throw;
            }
        }
    }

    // All of a thread's cache, when what lies at `at` is one.
    std::optional<std::vector<FreeChunk>> cache(std::uint64_t at) const;

  private:
    MallocArena arena_now(std::uint64_t at) const {
        const auto state = process_.read<State>(at);
        if (!state) throw Changed("an arena is gone");
        MallocArena arena{at, state->system_bytes, 0, 0, {}};
        for (std::size_t bin = 0; bin < kFastBins; ++bin) add_fast(*state, bin, arena);
        for (std::size_t bin = 0; bin < kBins; ++bin) add_bin(at, bin, arena);
        if (state->top != head_of(at, 0)) {
            const auto top = chunk_here(state->top);
            arena.top_bytes = top.bytes();
            arena.free.push_back({state->top, top.bytes()});
        }
        std::uint64_t listed = 0;
        for (const FreeChunk& chunk : arena.free) listed += chunk.bytes;
        arena.listed_bytes = listed - arena.top_bytes;
        if (listed > arena.system_bytes) throw Changed("more lies free than there is");
        return arena;
    }

    Chunk chunk_here(std::uint64_t at) const {
        const auto found = at % kAlignment == 0 ? chunk(at) : std::nullopt;
        if (!found || found->bytes() < kSmallest / 2 || found->bytes() % kAlignment != 0)
            throw Changed("a free chunk is none any more");
        return *found;
    }

    // Since 2.32 a pointer of a single list is stored as what it is, exclusive or the page it stands on.
    std::uint64_t follow(std::uint64_t place, std::uint64_t stored) const {
        return minor_ >= 32 ? stored ^ (place >> 12) : stored;
    }

    void add_fast(const State& state, std::size_t bin, MallocArena& arena) const {
        const std::uint64_t bytes = (bin + 2) * kAlignment;
        std::size_t length = 0;
        for (std::uint64_t at = state.fast[bin]; at != 0;) {
            const Chunk here = chunk_here(at);
            if (here.bytes() != bytes || ++length > kLongestList) throw Changed("a fast list");
            arena.free.push_back({at, bytes});
            at = follow(at + offsetof(Chunk, forward), here.forward);
        }
    }

    void add_bin(std::uint64_t arena_at, std::size_t bin, MallocArena& arena) const {
        const std::size_t before = arena.free.size();
        for (int i = 0;; ++i) {
            try {
                const std::uint64_t head = head_of(arena_at, bin);
                const Chunk empty = chunk_here_or_head(head);
                std::uint64_t previous = head;
                for (std::uint64_t at = empty.forward; at != head;) {
                    const Chunk here = chunk_here(at);
                    if (here.back != previous || arena.free.size() - before > kLongestList)
                        throw Changed("a list");
                    arena.free.push_back({at, here.bytes()});
                    previous = at;
                    at = here.forward;
                }
                return;
            } catch (const Changed&) {
                arena.free.resize(before);
                if (i == kTries) throw;
            }
        }
    }

    Chunk chunk_here_or_head(std::uint64_t head) const {
        const auto found = chunk(head);
        if (!found) throw Changed("an arena is gone");
        return *found;
    }

    const LiveProcess& process_;
    unsigned minor_;
};

std::optional<std::vector<FreeChunk>> Reader::cache(std::uint64_t at) const {
    const bool narrow = minor_ < 30;  // counts were bytes
    struct Wide {
        std::array<std::uint16_t, kCacheBins> counts;
        std::array<std::uint64_t, kCacheBins> entries;
    };
    struct Narrow {
        std::array<std::uint8_t, kCacheBins> counts;
        std::array<std::uint64_t, kCacheBins> entries;
    };
    const std::uint64_t bytes = (narrow ? sizeof(Narrow) : sizeof(Wide)) + kAlignment;
    const auto size = process_.read<std::uint64_t>(at - 8);
    if (at % kAlignment != 0 || !size || (*size & ~kFlags) != bytes) return std::nullopt;
    Wide cache{};
    if (narrow) {
        const auto read = process_.read<Narrow>(at);
        if (!read) return std::nullopt;
        std::copy(read->counts.begin(), read->counts.end(), cache.counts.begin());
        cache.entries = read->entries;
    } else if (const auto read = process_.read<Wide>(at)) {
        cache = *read;
    } else {
        return std::nullopt;
    }
    std::vector<FreeChunk> chunks;
    for (std::size_t bin = 0; bin < kCacheBins; ++bin) {
        const std::uint64_t chunk_bytes = kSmallest + bin * kAlignment;
        std::uint64_t entry = cache.entries[bin];
        for (unsigned i = 0; i < cache.counts[bin]; ++i) {
            const auto chunk = entry % kAlignment == 0 && entry != 0 ? this->chunk(entry - 16) : std::nullopt;
            if (!chunk || chunk->bytes() != chunk_bytes) return std::nullopt;
            chunks.push_back({entry - 16, chunk_bytes});
            entry = follow(entry, chunk->forward);
        }
        if (entry != 0) return std::nullopt;
    }
    return chunks;
}

struct Library {
    unsigned minor = 0;         // glibc 2.`minor`; 0: its version was not found
    std::vector<Mapping> data;  // where its variables are
};

// glibc's words about itself are a constant of its; a large static program is not read as a whole.
unsigned version_in(const std::string& path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(file.get(), ELF_C_READ_MMAP, nullptr);
    const auto section = find_section(elf, [](std::string_view name) { return name == ".rodata"; });
    const Elf_Data* const data =
        section ? elf_getdata_rawchunk(elf, static_cast<std::int64_t>(section->sh_offset), section->sh_size,
                                       ELF_T_BYTE)
                : nullptr;
    unsigned minor = 0;
    if (data != nullptr) {
        const std::string_view bytes(static_cast<const char*>(data->d_buf), data->d_size);
        constexpr std::string_view kBefore = " release version 2.";
        const auto product = bytes.find("GNU C Library");
        const auto at = product == std::string_view::npos ? product : bytes.find(kBefore, product);
        if (at != std::string_view::npos)
            std::from_chars(bytes.data() + at + kBefore.size(), bytes.data() + bytes.size(), minor);
    }
    elf_end(elf);
    return minor;
}

// glibc as a library, or within the program (a static one).
std::optional<Library> find_glibc(const LiveProcess& process, const std::vector<Mapping>& mappings) {
    const auto is_libc = [](const Mapping& mapping) {
        const auto slash = mapping.name.rfind('/');
        const std::string_view file =
            std::string_view(mapping.name).substr(slash == std::string::npos ? 0 : slash + 1);
        return mapping.is_file() && (file.starts_with("libc.so.6") || file.starts_with("libc-2."));
    };
    auto code = std::find_if(mappings.begin(), mappings.end(), is_libc);
    if (code == mappings.end())
        code = std::find_if(mappings.begin(), mappings.end(), [](const Mapping& m) { return m.is_file(); });
    if (code == mappings.end()) return std::nullopt;
    Library library;
    library.minor = version_in("/proc/" + std::to_string(process.pid()) + "/root" + code->name);
    if (library.minor == 0 && !is_libc(*code)) return std::nullopt;
    std::uint64_t end = 0;
    for (const Mapping& mapping : mappings) {
        const bool continues = mapping.start == end && mapping.name.empty();  // bss
        if (mapping.writable() && (mapping.name == code->name || continues)) {
            library.data.push_back(mapping);
            end = mapping.end;
        }
    }
    return library;
}

// The main arena is a variable that no symbol of a stripped library names: the one place in its data that is
// an arena in every respect. 0: there is none.
std::uint64_t find_main_arena(const LiveProcess& process, const Reader& reader, const Library& library) {
    for (const Mapping& mapping : library.data) {
        std::vector<std::uint64_t> words((mapping.end - mapping.start) / sizeof(std::uint64_t));
        if (!process.read(mapping.start, std::as_writable_bytes(std::span(words)))) continue;
        for (std::size_t i = 0; i < words.size(); ++i) {
            // The first list's head, or its first chunk, is cheap to ask for: the second list's is near.
            const std::uint64_t at = mapping.start + i * sizeof(std::uint64_t);
            const std::size_t bin = i + (kBinsOffset + (kBins - 1) * 16) / sizeof(std::uint64_t);
            if (bin + 1 >= words.size() || at % kAlignment != 0 || words[bin] != head_of(at, kBins - 1) ||
                words[bin + 1] != words[bin])
                continue;  // the list that malloc never uses (NBINS - 1) is always empty
            const auto state = reader.state(at);
            if (state && reader.is_arena(at, *state)) return at;
        }
    }
    return 0;
}

void find_caches(const LiveProcess& process, const Reader& reader, const std::vector<Mapping>& mappings,
                 GlibcMalloc& malloc) {
    std::set<std::uint64_t> seen;
    for (const std::uint64_t word : words_of_threads(process, mappings)) {
        if (word == 0 || word % kAlignment != 0 || !seen.insert(word).second) continue;
        const auto cache = reader.cache(word);
        if (!cache) continue;
        for (const FreeChunk& chunk : *cache) {
            malloc.cached.push_back(chunk);
            malloc.cached_bytes += chunk.bytes;
        }
    }
}

}  // namespace

GlibcMalloc look_at_glibc_malloc(const LiveProcess& process, const std::vector<Mapping>& mappings) {
    GlibcMalloc malloc;
    const auto library = find_glibc(process, mappings);
    if (!library) return malloc;
    if (library->minor < kOldestMinor || library->minor > kNewestMinor) {
        malloc.unknown = "records of glibc 2." + std::to_string(library->minor) + " are not known";
        return malloc;
    }
    const Reader reader(process, library->minor);
    const std::uint64_t main = find_main_arena(process, reader, *library);
    if (main == 0) {
        malloc.unknown = "no arena of glibc's malloc was found (another allocator is used, or none yet)";
        return malloc;
    }
    try {
        std::uint64_t at = main;
        do {
            malloc.arenas.push_back(reader.arena(at));
            at = process.read<std::uint64_t>(at + offsetof(State, next)).value_or(0);
        } while (at != main && at != 0 && malloc.arenas.size() < kMostArenas);
        if (at != main) throw Changed("the ring of arenas");
        find_caches(process, reader, mappings, malloc);
    } catch (const Changed&) {
        malloc = {};
        malloc.unknown = "its lists change faster than they can be read";
    }
    return malloc;
}

}  // namespace unfreed::rss
