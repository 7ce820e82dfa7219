#include "userspace/capture/ebpf/code_file.h"

#include <gelf.h>
#include <libelf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "userspace/capture/ebpf/block_sites.h"
#include "userspace/capture/ebpf/probe_site.h"

namespace unfreed::ebpf {
namespace {

struct EndElf {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using OwnedElf = std::unique_ptr<Elf, EndElf>;

// Where struct pt_regs has each register, in words: as struct user_regs_struct, in <sys/user.h>.
constexpr std::array<std::uint8_t, 16> kPlaceInRegisters{10, 11, 12, 5, 19, 4, 13, 14,
                                                         9,  8,  7,  6, 3,  2, 1,  0};

constexpr std::size_t kLongestFunction = 4096;  // bytes looked at for a probe's place

template <class Visit>
void for_each_section(Elf* elf, std::uint32_t type, Visit visit) {
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr || header.sh_type != type || header.sh_entsize == 0)
            continue;
        if (Elf_Data* const data = elf_getdata(section, nullptr)) visit(header, data);
    }
}

std::string build_id_of(Elf* elf) {
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_NOTE) continue;
        Elf_Data* const data = elf_getdata(section, nullptr);
        GElf_Nhdr note;
        std::size_t name = 0, description = 0;
        for (std::size_t at = 0;
             data != nullptr && (at = gelf_getnote(data, at, &note, &name, &description)) > 0;) {
            const auto* const bytes = static_cast<const unsigned char*>(data->d_buf);
            if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
                std::memcmp(bytes + name, "GNU", 4) != 0) {
                continue;
            }
            std::string hex;
            for (std::size_t i = 0; i < note.n_descsz; ++i) {
                hex += "0123456789abcdef"[bytes[description + i] >> 4];
                hex += "0123456789abcdef"[bytes[description + i] & 15];
            }
            return hex;
        }
    }
    return {};
}

bool is(const std::vector<std::byte>& bytes, std::size_t at, std::uint8_t value) {
    return std::to_integer<std::uint8_t>(bytes[at]) == value;
}

// 32 bits, with their sign.
std::uint64_t distance(const std::vector<std::byte>& bytes, std::size_t at) {
    std::int32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return static_cast<std::uint64_t>(std::int64_t{value});
}

// One that serves the whole program, rather than a layer on it or a --pair.
bool is_malloc(const FoundFunction& found) {
    return found.function.kind < UF_CALL_FREE && !found.function.is_operator && !found.function.wraps;
}

unsigned arguments_of(uf_call_kind kind) {
    switch (kind) {
        case UF_CALL_SIZE:
        case UF_CALL_FREE:
        case UF_CALL_SHAPE_OF:
            return 1;
        case UF_CALL_SHAPE:
            return 4;
        case UF_CALL_RESIZE_PRODUCT:
        case UF_CALL_OUT:
            return 3;
        default:
            return 2;
    }
}

}  // namespace

CodeFile::CodeFile(Descriptor file, const Functions& functions) : file_(std::move(file)) {
    if (!file_) return;
    table_ = unwind::compile_file(file_.get());
    read_elf(functions);
    choose_sites();
}

CodeFile::CodeFile(std::vector<std::byte> image) : image_(std::move(image)) {
    table_ = unwind::compile_image(image_);
    segments_.push_back({0, 0, image_.size(), true});  // the vdso is linked at 0, in one piece
}

void CodeFile::read_elf(const Functions& functions) {
    elf_version(EV_CURRENT);
    const OwnedElf elf(elf_begin(file_.get(), ELF_C_READ_MMAP, nullptr));
    std::size_t headers = 0;
    if (!elf || elf_kind(elf.get()) != ELF_K_ELF || elf_getphdrnum(elf.get(), &headers) != 0) return;
    for (std::size_t i = 0; i < headers; ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf.get(), static_cast<int>(i), &header) == nullptr) continue;
        if (header.p_type != PT_LOAD) continue;
        segments_.push_back({header.p_offset, header.p_vaddr, header.p_filesz, (header.p_flags & PF_X) != 0});
    }
    GElf_Ehdr file_header;
    if (gelf_getehdr(elf.get(), &file_header) != nullptr && file_header.e_type == ET_EXEC)
        is_executable_ = true;
    build_id_ = build_id_of(elf.get());
    for_each_section(elf.get(), SHT_DYNAMIC, [&](const GElf_Shdr& header, Elf_Data* data) {
        for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
            GElf_Dyn entry;
            if (gelf_getdyn(data, static_cast<int>(i), &entry) == nullptr) break;
            if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE)) is_executable_ = true;
        }
    });
    for (const std::uint32_t type : {SHT_DYNSYM, SHT_SYMTAB}) {
        for_each_section(elf.get(), type, [&](const GElf_Shdr& header, Elf_Data* data) {
            for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
                GElf_Sym symbol;
                if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) continue;
                const char* const name = elf_strptr(elf.get(), header.sh_link, symbol.st_name);
                if (name == nullptr) continue;
                const std::string_view text = name;
                if (text == "__cxa_throw" || text == "_ZSt17__throw_bad_allocv") throws_ = true;
                if (text == "memset" && symbol.st_shndx != SHN_UNDEF) memset_ = symbol.st_value;
                if (symbol.st_shndx == SHN_UNDEF || GELF_ST_TYPE(symbol.st_info) != STT_FUNC) continue;
                if (text == "_ZN2cv15getVersionMajorEv") opencv_version_ = symbol.st_value;
                if (const Function* const function = functions.find(name)) {
                    FoundFunction found;
                    found.function = *function;
                    found.address = symbol.st_value;
                    found.size = symbol.st_size;
                    functions_.push_back(found);
                }
            }
        });
    }
    for_each_section(elf.get(), SHT_RELA, [&](const GElf_Shdr& header, Elf_Data* data) {
        Elf_Scn* const symbols = elf_getscn(elf.get(), header.sh_link);
        GElf_Shdr symbols_header;
        Elf_Data* const symbol_data = symbols == nullptr ? nullptr : elf_getdata(symbols, nullptr);
        if (symbol_data == nullptr || gelf_getshdr(symbols, &symbols_header) == nullptr) return;
        for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
            GElf_Rela relocation;
            GElf_Sym symbol;
            if (gelf_getrela(data, static_cast<int>(i), &relocation) == nullptr) break;
            const auto type = GELF_R_TYPE(relocation.r_info);
            if (type == R_X86_64_IRELATIVE && memset_ == static_cast<std::uint64_t>(relocation.r_addend))
                memset_slots_.push_back(relocation.r_offset);
            if ((type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64) ||
                gelf_getsym(symbol_data, static_cast<int>(GELF_R_SYM(relocation.r_info)), &symbol) ==
                    nullptr) {
                continue;
            }
            const char* const name = elf_strptr(elf.get(), symbols_header.sh_link, symbol.st_name);
            if (name != nullptr && functions.index_of(name))
                import_slots_.emplace_back(relocation.r_offset, name);
        }
    });
    std::sort(import_slots_.begin(), import_slots_.end());
}

void CodeFile::choose_sites() {
    // Aliases (memalign and aligned_alloc, dynamic and static symbol) are one function, under the name found
    // first.
    std::stable_sort(functions_.begin(), functions_.end(),
                     [](const FoundFunction& a, const FoundFunction& b) { return a.address < b.address; });
    functions_.erase(
        std::unique(functions_.begin(), functions_.end(),
                    [](const FoundFunction& a, const FoundFunction& b) { return a.address == b.address; }),
        functions_.end());
    const bool has_malloc = std::any_of(functions_.begin(), functions_.end(), is_malloc);
    for (FoundFunction& found : functions_) {
        const auto offset = file_offset(found.address);
        if (!offset) {
            found.probed = false;
            continue;
        }
        const auto code =
            bytes_at(found.address, std::min<std::size_t>(found.size ? found.size : 64, kLongestFunction));
        if (found.function.is_operator) choose_operator(found, code, has_malloc);
        if (found.function.makes_matrix()) found.probed = is_known_opencv();
        if (found.function.is_inner) found.probed = false;
        const bool returns = found.function.kind < UF_CALL_FREE;
        const ProbeSite site = choose_probe_site(code, arguments_of(found.function.kind),
                                                 returns || found.function.makes_matrix());
        found.may_throw = found.function.may_throw && throws_ && returns;
        found.probe_offset = *offset + site.offset;
        found.emulated = site.emulated;
        const bool has_size = found.function.kind == UF_CALL_SIZE || found.function.kind == UF_CALL_PRODUCT;
        if (found.probed && has_size && !found.function.wraps && code.size() == found.size)
            choose_inside(found, code);
        if (!found.inside.empty()) found.may_throw = false;  // what it may, since its return is not probed
    }
}

// Where the block is known inside of the function. What the code says of the frame there, and the unwind
// table if it does, must agree.
void CodeFile::choose_inside(FoundFunction& found, std::span<const std::byte> code) const {
    const auto is_memset = [&](std::uint64_t offset) {
        const auto slot = slot_of_stub(found.address + offset);
        return slot && std::find(memset_slots_.begin(), memset_slots_.end(), *slot) != memset_slots_.end();
    };
    const auto sites = find_block_sites(
        code, found.function.kind == UF_CALL_PRODUCT ? SizeOf::kProduct : SizeOf::kFirst, is_memset);
    if (!sites) return;
    const auto add = [&](const Place& place, uf_call_kind kind, std::uint64_t more, unsigned size) {
        const uf_rule rule = unwind::rule_at(table_, found.address + place.offset);
        const std::uint32_t cfa = place.depth / 8 + 1;
        const std::uint32_t rbp = rule.kind >> 4 == UF_RBP_AT_CFA ? static_cast<std::uint32_t>(-rule.rbp) : 0;
        const int by = rule.kind & 0x0f;
        const bool agrees = by == UF_CFA_RSP   ? rule.cfa == static_cast<int>(cfa) && rbp == place.rbp
                            : by == UF_CFA_RBP ? rule.cfa == 2 && rbp == 2 && place.rbp == 2
                                               : by == UF_CFA_NO_ROW;
        if (!agrees || cfa > 0xff || place.rbp > UF_INSIDE_RBP_WORDS) return false;
        found.inside.push_back(
            {*file_offset(found.address) + place.offset,
             UF_COOKIE(0, 0, kind) | UF_COOKIE_INSIDE(cfa, place.rbp, kPlaceInRegisters[size]) | more});
        return true;
    };
    bool agree = true;
    for (const BlockSite& site : sites->blocks) {
        agree = agree && add(site.place, UF_CALL_BLOCK_KNOWN, site.size ? 0 : UF_COOKIE_SIZE_TOLD,
                             site.size.value_or(0));
    }
    for (const SizeSite& site : sites->sizes)
        agree = agree && add(site.place, UF_CALL_SIZE_KNOWN, 0, site.size);
    if (!agree) found.inside.clear();
}

// Whose records are those that bpf/matrices.h reads: OpenCV 4 says so itself, `mov $4,%eax; ret`.
bool CodeFile::is_known_opencv() const {
    constexpr std::array<unsigned char, 10> kAnswer{0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 4, 0, 0, 0, 0xc3};
    const auto code = opencv_version_ ? bytes_at(*opencv_version_, kAnswer.size()) : std::vector<std::byte>();
    constexpr std::size_t kMark = 4;  // endbr64, where code is built with it
    return code.size() == kAnswer.size() &&
           (std::memcmp(code.data(), kAnswer.data(), kAnswer.size()) == 0 ||
            std::memcmp(code.data(), kAnswer.data() + kMark, kAnswer.size() - kMark) == 0);
}

// Operators that call malloc and free (libstdc++'s) need no probe where those have one, but to say what they
// were asked for, which may be less: one for an alignment rounds up, and no bytes are one byte. In a module
// with an allocator of its own they may go straight to it.
void CodeFile::choose_operator(FoundFunction& found, std::span<const std::byte> code, bool has_malloc) const {
    const bool allocates = found.function.allocates();
    const bool is_layer =
        !has_malloc || std::any_of(functions_.begin(), functions_.end(), [&](const FoundFunction& other) {
            return other.address != found.address && other.function.allocates() == allocates &&
                   calls(code, found.address, other.address);
        });
    if (!is_layer) return;
    if (allocates && !forwards(found, code)) {
        found.function.kind = UF_CALL_ASK;
    } else {
        found.probed = false;
    }
}

// Does it hand its request on to another operator (an array's, or one that throws nothing)? That one is asked
// then.
bool CodeFile::forwards(const FoundFunction& found, std::span<const std::byte> code) const {
    const auto targets = targets_of(code, found.address);
    return std::any_of(targets.begin(), targets.end(), [&](std::uint64_t target) {
        const FoundFunction* const direct = allocating_at(target);
        return symbol_of_stub(target).starts_with("_Zn") ||
               (direct != nullptr && direct != &found && direct->function.is_operator);
    });
}

std::optional<std::uint64_t> CodeFile::file_offset(std::uint64_t address) const {
    for (const Segment& segment : segments_) {
        if (address >= segment.address && address - segment.address < segment.file_size) {
            return address - segment.address + segment.offset;
        }
    }
    return std::nullopt;
}

std::vector<std::byte> CodeFile::bytes_at(std::uint64_t address, std::size_t count) const {
    std::vector<std::byte> bytes(count);
    const auto offset = file_offset(address);
    const ssize_t got =
        offset && file_ ? pread(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(*offset)) : -1;
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
}

std::optional<std::uint64_t> CodeFile::bias(std::uint64_t begin, std::uint64_t offset) const {
    constexpr std::uint64_t kPage = 4096;
    for (const Segment& segment : segments_) {
        const std::uint64_t first = segment.offset / kPage * kPage;
        if (segment.code && offset >= first && offset < segment.offset + segment.file_size) {
            return begin - offset + segment.offset - segment.address;
        }
    }
    return std::nullopt;
}

std::optional<CodeFile::CodeSegment> CodeFile::code_segment() const {
    for (const Segment& segment : segments_) {  // ascending, as the ELF format has it
        if (segment.code) return CodeSegment{segment.offset, segment.address};
    }
    return std::nullopt;
}

const FoundFunction* CodeFile::function_at(std::uint64_t address) const {
    const auto after = std::upper_bound(
        functions_.begin(), functions_.end(), address,
        [](std::uint64_t value, const FoundFunction& found) { return value < found.address; });
    if (after == functions_.begin()) return nullptr;
    const FoundFunction& found = *std::prev(after);
    return address - found.address < found.size ? &found : nullptr;
}

bool CodeFile::is_allocator() const {
    return !is_executable_ && std::any_of(functions_.begin(), functions_.end(), is_malloc);
}

// Where the call before `return_address` goes to, if it is a direct one.
std::optional<std::uint64_t> CodeFile::called_directly(std::uint64_t return_address) const {
    const auto call = bytes_at(return_address - 5, 5);
    if (call.size() != 5 || !is(call, 0, 0xe8)) return std::nullopt;
    return return_address + distance(call, 1);
}

const FoundFunction* CodeFile::allocating_at(std::uint64_t address) const {
    const FoundFunction* const found = function_at(address);
    return found != nullptr && found->address == address && found->function.allocates() ? found : nullptr;
}

const FoundFunction* CodeFile::called_function(std::uint64_t return_address) const {
    const auto target = called_directly(return_address);
    return target ? allocating_at(*target) : nullptr;
}

bool CodeFile::starts_goroutine(std::uint64_t return_address) const {
    const unwind::GoStart& go = table_.go;
    const auto is_inside = [&](const unwind::AddressRange& range) {
        return return_address > range.begin && return_address <= range.end;
    };
    if (std::any_of(go.first.begin(), go.first.end(), is_inside)) return false;
    const auto target = go.newproc.empty() ? std::nullopt : called_directly(return_address);
    return target && std::find(go.newproc.begin(), go.newproc.end(), *target) != go.newproc.end();
}

// A stub of the linkage table, [endbr64] [bnd] jmp *slot(%rip): its slot in the global offset table.
std::optional<std::uint64_t> CodeFile::slot_of_stub(std::uint64_t address) const {
    const auto code = bytes_at(address, 16);
    if (code.size() != 16) return std::nullopt;
    std::size_t at = is(code, 0, 0xf3) && is(code, 1, 0x0f) && is(code, 2, 0x1e) ? 4 : 0;
    if (is(code, at, 0xf2)) ++at;
    if (!is(code, at, 0xff) || !is(code, at + 1, 0x25)) return std::nullopt;
    return address + at + 6 + distance(code, at + 2);
}

std::string CodeFile::symbol_of_slot(std::uint64_t slot) const {
    const auto found =
        std::lower_bound(import_slots_.begin(), import_slots_.end(), std::pair(slot, std::string()));
    return found != import_slots_.end() && found->first == slot ? found->second : std::string();
}

std::string CodeFile::symbol_of_stub(std::uint64_t address) const {
    const auto slot = slot_of_stub(address);
    return slot ? symbol_of_slot(*slot) : std::string();
}

std::string CodeFile::called_symbol(std::uint64_t return_address) const {
    // call *slot(%rip), or call stub
    const auto call = bytes_at(return_address - 6, 6);
    if (call.size() != 6) return {};
    if (is(call, 0, 0xff) && is(call, 1, 0x15)) return symbol_of_slot(return_address + distance(call, 2));
    return is(call, 1, 0xe8) ? symbol_of_stub(return_address + distance(call, 2)) : std::string();
}

}  // namespace unfreed::ebpf
