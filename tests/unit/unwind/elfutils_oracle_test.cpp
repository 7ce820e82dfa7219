// Every row against elfutils' own evaluation of the same call frame information, over the libraries of this
// machine.
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <libelf.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <string>

#include "symbolizer/unwind/unwind_table.h"

namespace {
using namespace unfreed::unwind;

struct Frame {
    Dwarf_Frame* frame = nullptr;
    ~Frame() { free(frame); }
};

// Of the `count` operations the first one gives a register and an offset.
bool is_register(const Dwarf_Op* ops, std::size_t count, unsigned reg, std::int64_t offset) {
    if (count != 1) return false;
    if (ops[0].atom == DW_OP_bregx) {
        return ops[0].number == reg && static_cast<std::int64_t>(ops[0].number2) == offset;
    }
    return ops[0].atom == DW_OP_breg0 + reg && static_cast<std::int64_t>(ops[0].number) == offset;
}

// elfutils gives places relative to the CFA as: DW_OP_call_frame_cfa, DW_OP_plus_uconst offset.
bool is_at_cfa(const Dwarf_Op* ops, std::size_t count, std::int64_t offset) {
    return count >= 1 && ops[0].atom == DW_OP_call_frame_cfa &&
           ((count == 1 && offset == 0) || (count == 2 && ops[1].atom == DW_OP_plus_uconst &&
                                            static_cast<std::int64_t>(ops[1].number) == offset));
}

// What elfutils says, in the terms of a row; empty: the same.
std::string difference(Dwarf_Frame* frame, const uf_rule& rule) {
    const unsigned cfa_kind = rule.kind & 0x0f;
    const unsigned rbp_kind = rule.kind >> 4;
    Dwarf_Op memory[3];
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;

    if (dwarf_frame_register(frame, 16, memory, &ops, &count) != 0) return "no return address";
    // Neither a place nor "the same": undefined.
    const bool no_caller = count == 0 && ops != nullptr;
    if (no_caller != (cfa_kind == UF_CFA_END)) return "end of the stack";
    if (no_caller || cfa_kind == UF_CFA_UNSUPPORTED) return {};
    if (cfa_kind != UF_CFA_SIGNAL && !is_at_cfa(ops, count, -8)) return "return address not at CFA-8";

    if (dwarf_frame_register(frame, 6, memory, &ops, &count) != 0) return "no rbp";
    const std::int64_t rbp_offset = std::int64_t{rule.rbp} * 8;
    if (rbp_kind == UF_RBP_SAME && cfa_kind != UF_CFA_SIGNAL && !(count == 0 && ops == nullptr))
        return "rbp not same";
    if (rbp_kind == UF_RBP_AT_CFA && !is_at_cfa(ops, count, rbp_offset)) return "rbp not at CFA";
    // For an expression elfutils says first that it starts from the CFA, as DWARF has it.
    if (rbp_kind == UF_RBP_AT_RBP && !(count == 2 && is_register(ops + 1, 1, 6, rbp_offset)))
        return "rbp not at rbp";

    // elfutils refuses a register that follows an expression (libgcrypt's assembler has it); libgcc takes it,
    // as we do.
    if (dwarf_frame_cfa(frame, &ops, &count) != 0) return {};
    const std::int64_t cfa_offset = std::int64_t{rule.cfa} * 8;
    switch (cfa_kind) {
        case UF_CFA_RSP:
            return is_register(ops, count, 7, cfa_offset) ? "" : "CFA not by rsp";
        case UF_CFA_RBP:
            return is_register(ops, count, 6, cfa_offset) ? "" : "CFA not by rbp";
        case UF_CFA_RBP_DEREF:
            return is_register(ops, 1, 6, cfa_offset) && count == 2 && ops[1].atom == DW_OP_deref
                       ? ""
                       : "CFA not *rbp";
        case UF_CFA_RSP_DEREF8:
            return is_register(ops, 1, 7, cfa_offset) && count == 3 && ops[1].atom == DW_OP_deref
                       ? ""
                       : "CFA not *rsp";
        case UF_CFA_PLT:
            return is_register(ops, 1, 7, 8) && count == 9 ? "" : "CFA not of a PLT";
        case UF_CFA_SIGNAL:
            return is_register(ops, 1, 7, UF_SIGFRAME_RSP) && count == 2 ? "" : "CFA not of a signal frame";
        default:
            return "kind of CFA";
    }
}

struct Tally {
    std::size_t rows = 0;
    std::size_t unsupported = 0;
};

// Compares rows `first`, `first` + `step`, ... of the file.
Tally compare(const std::string& path, std::size_t step) {
    Tally tally;
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(descriptor >= 0);
    const UnwindTable table = compile_file(descriptor);
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(descriptor, ELF_C_READ_MMAP, nullptr);
    Dwarf_CFI* const cfi = elf == nullptr ? nullptr : dwarf_getcfi_elf(elf);
    for (std::size_t i = 0; cfi != nullptr && i < table.rows.size(); i += step) {
        const uf_row& row = table.rows[i];
        const std::uint64_t address = table.base + row.pc;
        Frame oracle;
        const bool known = dwarf_cfi_addrframe(cfi, address, &oracle.frame) == 0;
        ++tally.rows;
        if ((row.rule.kind & 0x0f) == UF_CFA_NO_ROW) {
            if (known) FAIL_CHECK(path << " " << std::hex << address << ": a gap where there is information");
            continue;
        }
        if ((row.rule.kind & 0x0f) == UF_CFA_UNSUPPORTED) ++tally.unsupported;
        const std::string wrong = known ? difference(oracle.frame, row.rule) : "no information";
        if (!wrong.empty()) {
            FAIL_CHECK(path << " " << std::hex << address << ": " << wrong << " (kind 0x"
                            << unsigned{row.rule.kind} << std::dec << " cfa " << row.rule.cfa << " rbp "
                            << int{row.rule.rbp} << ")");
            break;
        }
    }
    if (cfi != nullptr) dwarf_cfi_end(cfi);
    elf_end(elf);
    close(descriptor);
    return tally;
}

std::string path_of(const void* symbol) {
    Dl_info info{};
    REQUIRE(dladdr(symbol, &info) != 0);
    return info.dli_fname;
}

}  // namespace

TEST_CASE("every row of libc, libstdc++ and libelf says what elfutils says") {
    for (const void* symbol :
         {reinterpret_cast<const void*>(&fflush), reinterpret_cast<const void*>(&elf_end),
          static_cast<const void*>(dlsym(RTLD_DEFAULT, "__cxa_throw"))}) {
        const Tally tally = compare(path_of(symbol), 1);
        CHECK(tally.rows > 1000);
        CHECK(tally.unsupported * 200 < tally.rows);
    }
}

TEST_CASE("rows of the other libraries of this machine say what elfutils says") {
    // UNFREED_EVERY_ROW=1 looks at all rows of all libraries (minutes); else at a part of each, a minute at
    // most.
    const bool every_row = getenv("UNFREED_EVERY_ROW") != nullptr;
    std::set<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(
             std::filesystem::path(path_of(reinterpret_cast<const void*>(&fflush))).parent_path())) {
        if (entry.is_regular_file() && !entry.is_symlink() &&
            entry.path().filename().string().find(".so") != std::string::npos) {
            paths.insert(entry.path());
        }
    }
    Tally all;
    std::size_t looked_at = 0;
    for (const std::string& path : paths) {
        if (!every_row && std::filesystem::file_size(path) > 16'000'000) continue;
        if (!every_row && ++looked_at > 120) break;
        const Tally tally = compare(path, every_row ? 1 : 7);
        all.rows += tally.rows;
        all.unsupported += tally.unsupported;
    }
    WARN(all.rows << " rows, " << all.unsupported << " of them unsupported");
    CHECK(all.rows > 0);
}
