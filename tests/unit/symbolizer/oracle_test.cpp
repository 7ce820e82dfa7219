// The same questions to others: libdwfl (as eu-addr2line does) for lines and inlined frames of this very test
// program, and a search through the whole symbol table of libc for names.
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gelf.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>

#include "symbolizer/symbolizer.h"

using namespace unfreed::symbolizer;

namespace {

struct Symbol {
    std::uint64_t start;
    std::uint64_t size;
    std::string name;
};

// The functions with a size, of the file's first table of this type.
std::vector<Symbol> functions_of(const std::string& path, unsigned table_type) {
    std::vector<Symbol> symbols;
    elf_version(EV_CURRENT);
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    Elf* elf = elf_begin(descriptor, ELF_C_READ, nullptr);
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr shape;
        gelf_getshdr(section, &shape);
        if (shape.sh_type != table_type) continue;
        Elf_Data* data = elf_getdata(section, nullptr);
        for (std::size_t i = 0; i < shape.sh_size / shape.sh_entsize; ++i) {
            GElf_Sym symbol;
            gelf_getsym(data, static_cast<int>(i), &symbol);
            const unsigned type = GELF_ST_TYPE(symbol.st_info);
            if ((type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF &&
                symbol.st_size > 0)
                symbols.push_back(
                    {symbol.st_value, symbol.st_size, elf_strptr(elf, shape.sh_link, symbol.st_name)});
        }
    }
    elf_end(elf);
    ::close(descriptor);
    return symbols;
}

std::string libc_path() {
    Dl_info info;
    REQUIRE(dladdr(reinterpret_cast<void*>(&gnu_get_libc_version), &info) != 0);
    return info.dli_fname;
}

struct Answer {
    std::string file;
    int line = 0;
    std::size_t frames = 0;  // the function and those inlined into it
};

class Oracle {
  public:
    explicit Oracle(const std::string& path) : dwfl_(dwfl_begin(&kCallbacks)) {
        module_ = dwfl_report_offline(dwfl_, "", path.c_str(), -1);
        dwfl_report_end(dwfl_, nullptr, nullptr);
    }
    ~Oracle() { dwfl_end(dwfl_); }
    Oracle(const Oracle&) = delete;
    Oracle& operator=(const Oracle&) = delete;

    Answer ask(std::uint64_t address) {
        Answer answer;
        // The first unit that has it: where an inline function was linked once for many units, that is the
        // one whose code was taken, while dwfl_module_addrdie may give any.
        Dwarf_Addr bias = 0;
        Dwarf_Die* unit = nullptr;
        do unit = dwfl_module_nextcu(module_, unit, &bias);
        while (unit != nullptr && dwarf_haspc(unit, address) <= 0);
        Dwarf_Line* line = unit == nullptr ? nullptr : dwarf_getsrc_die(unit, address);
        if (line != nullptr && dwarf_lineno(line, &answer.line) == 0)
            answer.file = dwarf_linesrc(line, nullptr, nullptr);
        Dwarf_Die* innermost = nullptr;
        if (unit == nullptr || dwarf_getscopes(unit, address, &innermost) <= 0) return answer;
        // From an inlined call, getscopes goes on where that function was written; getscopes_die, where it
        // was called.
        Dwarf_Die* scopes = nullptr;
        const int count = dwarf_getscopes_die(innermost, &scopes);
        bool owner_seen = false;
        for (int i = 0; i < count && !owner_seen; ++i) {
            const int tag = dwarf_tag(&scopes[i]);
            owner_seen = tag == DW_TAG_subprogram;
            if (owner_seen || tag == DW_TAG_inlined_subroutine) ++answer.frames;
        }
        if (!owner_seen) answer.frames = 0;
        std::free(scopes);
        std::free(innermost);
        return answer;
    }

  private:
    static inline char* no_debug_path_ = nullptr;
    static inline const Dwfl_Callbacks kCallbacks{dwfl_build_id_find_elf, dwfl_standard_find_debuginfo,
                                                  dwfl_offline_section_address, &no_debug_path_};
    Dwfl* dwfl_;
    Dwfl_Module* module_ = nullptr;
};

}  // namespace

TEST_CASE("every function of libc has one of the names that its symbol table gives to the place") {
    const std::string path = libc_path();
    const std::vector<Symbol> symbols = functions_of(path, SHT_DYNSYM);
    REQUIRE(symbols.size() > 1000);
    std::vector<std::uint64_t> addresses;
    addresses.reserve(symbols.size());
    for (const Symbol& symbol : symbols) addresses.push_back(symbol.start + symbol.size / 2);
    ModuleInput module;
    module.path = path;
    const ModuleNames names = name_addresses(module, addresses, {{}});
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        REQUIRE(names.locations[i].count > 0);
        const Location& location = names.locations[i];
        const Line& owner = names.lines[location.first + location.count - 1];
        std::set<std::string> allowed;
        for (const Symbol& symbol : symbols)
            if (symbol.start <= addresses[i] && addresses[i] < symbol.start + symbol.size)
                allowed.insert(symbol.name);
        CAPTURE(symbols[i].name, names.functions[owner.function].system_name);
        CHECK(allowed.count(names.functions[owner.function].system_name) == 1);
    }
}

TEST_CASE("lines and inlined frames of this program are those that libdwfl gives") {
    const std::string path = std::filesystem::read_symlink("/proc/self/exe").string();
    const std::vector<Symbol> symbols = functions_of(path, SHT_SYMTAB);
    std::vector<std::uint64_t> addresses;
    // About 150 of its functions, two places in each: the oracle searches whole trees for every question.
    const std::size_t step = std::max<std::size_t>(1, symbols.size() / 150);
    for (std::size_t i = 0; i < symbols.size(); i += step)
        for (std::uint64_t place : {symbols[i].size / 3, symbols[i].size - 1})
            addresses.push_back(symbols[i].start + place);
    ModuleInput module;
    module.path = path;
    const ModuleNames names = name_addresses(module, addresses, {{}});
    Oracle oracle(path);
    std::size_t with_inlines = 0;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const Answer expected = oracle.ask(addresses[i]);
        if (expected.frames == 0)
            continue;  // no DWARF: crt files, static libraries without debug information
        with_inlines += expected.frames > 1;
        const Location& location = names.locations[i];
        CAPTURE(std::to_string(addresses[i]), expected.file, expected.line);
        REQUIRE(location.count == expected.frames);
        const Line& innermost = names.lines[location.first];
        CHECK(static_cast<int>(innermost.line) == expected.line);
        if (expected.line > 0)
            CHECK(names.functions[innermost.function].file ==
                  std::filesystem::path(expected.file).lexically_normal().string());
    }
    CHECK(with_inlines > 0);  // how many depends on the optimizer; none would compare nothing
}
