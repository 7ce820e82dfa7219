#include "symbolizer/symbol_source.h"

#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "symbolizer/demangle.h"

namespace unfreed::symbolizer {
namespace {

struct Symbol {
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    bool is_function = false;  // else without a type, as in hand-written assembly
    bool is_global = false;    // global or weak
    const char* name = nullptr;
    std::uint64_t section_end = 0;  // only for `nearest` below: no symbol reaches beyond its section
};

// What covers one query, as far as the tables have been read.
struct Cover {
    std::optional<Symbol> sized;
    // The last start of a symbol at or before the address. When that symbol has no size, it is taken to reach
    // up to the next one: assembly often gives none.
    std::optional<Symbol> nearest;
};

std::size_t leading_underscores(const char* name) {
    return std::strspn(name, "_");
}

// Aliases of one place: people know `malloc` and `write`, not `__libc_malloc` and `__write`.
bool better_name(const Symbol& a, const Symbol& b) {
    if (a.is_function != b.is_function) return a.is_function;
    if (a.is_global != b.is_global) return a.is_global;
    const std::size_t a_underscores = leading_underscores(a.name);
    const std::size_t b_underscores = leading_underscores(b.name);
    if (a_underscores != b_underscores) return a_underscores < b_underscores;
    return std::strcmp(a.name, b.name) < 0;  // any fixed order: the answer must not depend on the table's
}

// The innermost wins: the later start, then the smaller size.
void offer_sized(std::optional<Symbol>& held, const Symbol& symbol) {
    if (!held || symbol.start > held->start ||
        (symbol.start == held->start &&
         (symbol.size < held->size || (symbol.size == held->size && better_name(symbol, *held)))))
        held = symbol;
}

void offer_nearest(std::optional<Symbol>& held, const Symbol& symbol) {
    const bool sized = symbol.size > 0;
    if (!held || symbol.start > held->start ||
        (symbol.start == held->start && (sized != (held->size > 0) ? sized : better_name(symbol, *held))))
        held = symbol;
}

class TableReader {
  public:
    TableReader(Elf* elf, Elf_Scn* table, std::span<const Query> queries, std::vector<Cover>& covers)
        : elf_(elf), table_(table), queries_(queries), covers_(covers) {}

    // False: there is no symbol of code.
    bool read() {
        GElf_Shdr shape;
        Elf_Data* data = elf_getdata(table_, nullptr);
        if (gelf_getshdr(table_, &shape) == nullptr || data == nullptr) return false;
        names_ = shape.sh_link;
        read_sections();
        const std::size_t entry = gelf_fsize(elf_, ELF_T_SYM, 1, EV_CURRENT);
        const std::size_t count = entry == 0 ? 0 : data->d_size / entry;
        bool any = false;
        for (std::size_t i = 1; i < count; ++i) {
            GElf_Sym raw;
            if (gelf_getsym(data, static_cast<int>(i), &raw) != nullptr) any |= offer(raw);
        }
        return any;
    }

  private:
    struct Extent {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
    };

    void read_sections() {
        for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf_, section)) != nullptr;) {
            GElf_Shdr shape;
            if (gelf_getshdr(section, &shape) == nullptr) continue;
            const std::size_t index = elf_ndxscn(section);
            if (index >= sections_.size()) sections_.resize(index + 1);
            if ((shape.sh_flags & SHF_EXECINSTR) != 0 && shape.sh_addr + shape.sh_size > shape.sh_addr)
                sections_[index] = {shape.sh_addr, shape.sh_addr + shape.sh_size};
        }
    }

    std::size_t first_query_from(std::uint64_t address) const {
        const auto found = std::lower_bound(queries_.begin(), queries_.end(), address,
                                            [](const Query& q, std::uint64_t a) { return q.address < a; });
        return static_cast<std::size_t>(found - queries_.begin());
    }

    // Fetched only for symbols that matter: most of a table's names are never read.
    bool fetch_name(const GElf_Sym& raw, Symbol& symbol) const {
        symbol.name = elf_strptr(elf_, names_, raw.st_name);
        // $x, $d (mapping symbols) and .L mark places, not functions.
        return symbol.name != nullptr && *symbol.name != 0 && *symbol.name != '$' &&
               std::strncmp(symbol.name, ".L", 2) != 0;
    }

    bool offer(const GElf_Sym& raw) {
        const unsigned type = GELF_ST_TYPE(raw.st_info);
        const bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
        if ((!is_function && type != STT_NOTYPE) || raw.st_shndx == SHN_UNDEF || raw.st_shndx == SHN_ABS)
            return false;
        Symbol symbol{
            raw.st_value, raw.st_size, is_function, GELF_ST_BIND(raw.st_info) != STB_LOCAL, nullptr, 0};
        const std::size_t first = first_query_from(symbol.start);
        if (first == queries_.size()) return is_function;
        const std::uint64_t end = symbol.start + symbol.size;
        if (end > queries_[first].address && fetch_name(raw, symbol))
            for (std::size_t i = first; i < queries_.size() && queries_[i].address < end; ++i)
                offer_sized(covers_[i].sized, symbol);
        offer_as_nearest(raw, symbol, first);
        return is_function;
    }

    // Recorded at the first query that it may reach; name() carries it on to the later ones.
    void offer_as_nearest(const GElf_Sym& raw, Symbol& symbol, std::size_t first) {
        const bool inside = raw.st_shndx < sections_.size() &&
                            sections_[raw.st_shndx].start <= symbol.start &&
                            queries_[first].address < sections_[raw.st_shndx].end;
        if (!inside) return;
        symbol.section_end = sections_[raw.st_shndx].end;
        std::optional<Symbol>& held = covers_[first].nearest;
        if (held && held->start > symbol.start) return;
        if (symbol.name == nullptr && !fetch_name(raw, symbol)) return;
        offer_nearest(held, symbol);
    }

    Elf* elf_;
    Elf_Scn* table_;
    std::span<const Query> queries_;
    std::vector<Cover>& covers_;
    std::size_t names_ = 0;
    std::vector<Extent> sections_;
};

// "memcpy@@GLIBC_2.14": the version is no part of the name.
std::string without_version(const char* name) {
    const char* at = std::strchr(name + 1, '@');
    return at == nullptr ? std::string(name) : std::string(name, at);
}

}  // namespace

void SymbolSource::name(std::span<Query> queries, FunctionTable& functions) {
    std::vector<Cover> covers(queries.size());
    for (const ElfFile* file : files_) {
        Elf_Scn* table = file->section_of_type(SHT_SYMTAB);
        const bool full = table != nullptr;
        if (!full) table = file->section_of_type(SHT_DYNSYM);
        if (table != nullptr && TableReader(file->elf(), table, queries, covers).read()) complete_ |= full;
    }
    std::optional<Symbol> nearest;
    for (std::size_t i = 0; i < queries.size(); ++i) {
        if (covers[i].nearest) nearest = covers[i].nearest;
        if (queries[i].whole) continue;
        const Symbol* symbol = nullptr;
        if (covers[i].sized)
            symbol = &*covers[i].sized;
        else if (nearest && nearest->size == 0 && queries[i].address < nearest->section_end)
            symbol = &*nearest;
        if (symbol == nullptr) continue;
        const std::string name = without_version(symbol->name);
        const bool known_by_dwarf = !queries[i].owner_fallback.empty();
        queries[i].finish(known_by_dwarf ? without_clone_suffix(name) : name, functions);
    }
}

}  // namespace unfreed::symbolizer
