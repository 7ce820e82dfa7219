// Unwind rows of whole Go programs, against the .debug_frame that Go's linker writes apart from its own
// table.
#include "symbolizer/unwind/go_rows.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "tests/unit/go/programs.h"

namespace {
using namespace unfreed::unwind;
using unfreed::testing::OpenProgram;
using unfreed::testing::program;

UnwindTable table_of(const std::string& name) {
    const int descriptor = open(program(name).c_str(), O_RDONLY);
    const UnwindTable table = compile_file(descriptor);
    close(descriptor);
    return table;
}

// What .debug_frame says of the CFA: rsp and so many bytes; -1: something else, or nothing.
long cfa_from_rsp(Dwarf_CFI* cfi, std::uint64_t address) {
    Dwarf_Frame* frame = nullptr;
    if (dwarf_cfi_addrframe(cfi, address, &frame) != 0) return -1;
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    const bool plain = dwarf_frame_cfa(frame, &ops, &count) == 0 && count >= 1 &&
                       (ops[0].atom == DW_OP_breg7 || (ops[0].atom == DW_OP_bregx && ops[0].number == 7));
    const long offset =
        !plain ? -1 : static_cast<long>(ops[0].atom == DW_OP_bregx ? ops[0].number2 : ops[0].number);
    free(frame);
    return offset;
}

// Where DWARF says that a record of Go has a member; -1: it does not say.
long member_offset(Dwarf* dwarf, const std::string& record, const std::string& member) {
    Dwarf_Off unit = 0, next = 0;
    std::size_t header = 0;
    const auto is_called = [](Dwarf_Die& die, const std::string& name) {
        const char* const own = dwarf_diename(&die);
        return own != nullptr && own == name;
    };
    for (; dwarf_nextcu(dwarf, unit, &next, &header, nullptr, nullptr, nullptr) == 0; unit = next) {
        Dwarf_Die root, type, field;
        if (dwarf_offdie(dwarf, unit + header, &root) == nullptr || dwarf_child(&root, &type) != 0) continue;
        do {
            if (dwarf_tag(&type) != DW_TAG_structure_type || !is_called(type, record) ||
                dwarf_child(&type, &field) != 0)
                continue;
            do {
                Dwarf_Attribute attribute;
                Dwarf_Word offset = 0;
                if (is_called(field, member) &&
                    dwarf_formudata(dwarf_attr(&field, DW_AT_data_member_location, &attribute), &offset) == 0)
                    return static_cast<long>(offset);
            } while (dwarf_siblingof(&field, &field) == 0);
        } while (dwarf_siblingof(&type, &type) == 0);
    }
    return -1;
}

}  // namespace

TEST_CASE("rows of Go code are what the program's own .debug_frame says") {
    const std::string name = GENERATE("plain", "pie", "pure");
    CAPTURE(name);
    const OpenProgram seen(name);
    const UnwindTable table = table_of(name);
    Dwarf* const dwarf = dwarf_begin(seen.descriptor, DWARF_C_READ);
    Dwarf_CFI* const cfi = dwarf_getcfi(dwarf);
    REQUIRE(cfi != nullptr);
    std::uint64_t compared = 0, different = 0;
    for (std::uint64_t i = 0; i < seen.count(); ++i) {
        for (std::uint64_t at = seen.entry(i); at < seen.entry(i + 1); at += 5) {
            const uf_rule rule = rule_at(table, at);
            if ((rule.kind & 0x0f) != UF_CFA_RSP)
                continue;  // frame pointer, start of a stack, way to another
            const long expected = cfa_from_rsp(cfi, at);
            if (expected < 0) continue;
            ++compared;
            if (expected != rule.cfa * 8 && ++different < 5)
                UNSCOPED_INFO(std::hex << at << std::dec << " " << seen.symbols->lookup(at).back().function
                                       << ": " << rule.cfa * 8 << ", not " << expected);
        }
    }
    dwarf_end(dwarf);
    CHECK(different == 0);
    CHECK(compared > 40000);
}

TEST_CASE("the ways between the stacks that Go runs on have their rows, in stripped programs too") {
    const std::string name = GENERATE("plain", "plain_stripped", "pie_stripped", "cshared_stripped", "pure");
    CAPTURE(name);
    const OpenProgram seen(name);
    const UnwindTable table = table_of(name);
    CHECK(rule_at(table, seen.address_of("runtime.goexit")).kind == UF_CFA_END);
    CHECK(rule_at(table, seen.address_of("runtime.mstart")).kind == UF_CFA_END);
    CHECK(rule_at(table, seen.address_of("runtime.cgocallback")).kind == UF_CFA_NO_ROW);
    // Go 1.19's asmcgocall: goroutine at 48(rsp), depth at 40(rsp), g.stack.hi at 8; the other return: sp at
    // 40(rsp).
    std::multiset<int> kinds;
    const std::uint64_t begin = seen.address_of("runtime.asmcgocall");
    for (std::uint64_t at = begin; at < begin + 0xb0; ++at) {
        const uf_rule rule = rule_at(table, at);
        if (rule.kind == UF_CFA_GO_CALL) {
            CHECK(rule.rbp * 8 == 48);
            CHECK(UF_GO_CALL_DEPTH(rule.cfa) == 40);
            CHECK(UF_GO_CALL_STACK_END(rule.cfa) == 8);
        }
        if (rule.kind == UF_CFA_RSP_DEREF8) CHECK(rule.cfa * 8 == 40);
        kinds.insert(rule.kind);
    }
    CHECK(kinds.count(UF_CFA_GO_CALL) == 1);
    CHECK(kinds.count(UF_CFA_RSP_DEREF8) == 1);
}

TEST_CASE("where a goroutine has its creation is read from the code as DWARF says it") {
    const std::string name = GENERATE("plain", "pie", "pure");
    CAPTURE(name);
    const OpenProgram seen(name);
    Dwarf* const dwarf = dwarf_begin(seen.descriptor, DWARF_C_READ);
    const long expected = member_offset(dwarf, "runtime.g", "gopc");
    dwarf_end(dwarf);
    REQUIRE(expected > 0);
    const UnwindTable table = table_of(name);
    CHECK(rule_at(table, seen.address_of("runtime.goexit")).cfa * 8 == expected);
    CHECK(rule_at(table, seen.address_of("runtime.mstart")).cfa == 0);
    CHECK(std::count(table.go.newproc.begin(), table.go.newproc.end(), seen.address_of("runtime.newproc")) ==
          1);
}

TEST_CASE("where a goroutine has its creation is known of stripped programs too") {
    const OpenProgram plain("plain"), stripped("plain_stripped");
    CHECK(rule_at(table_of("plain_stripped"), stripped.address_of("runtime.goexit")).cfa ==
          rule_at(table_of("plain"), plain.address_of("runtime.goexit")).cfa);
}
