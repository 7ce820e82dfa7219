// elfutils' answer to what find_cfi_row(), make_rule() and full_step() are asked, evaluated on made-up
// registers and a made-up stack, so that only meanings are compared, never representations.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "preload/full_walk.h"
#include "preload/rule.h"
#include "tests/unit/preload/mapped_elf.h"

struct Dwarf_CFI_s;
struct Elf;

namespace unfreed::preload {

// Registers that all point into a stack whose every word points into it again: any expression can be
// evaluated.
class MadeUpStack {
  public:
    MadeUpStack();
    Registers registers(uint64_t pc) const;
    StackMemory memory() const;
    std::optional<uint64_t> word(uint64_t address) const;

  private:
    std::vector<uint64_t> words_;
};

// Where a register of the caller is, as elfutils says.
struct OracleRegister {
    enum Kind { kLost, kSame, kSavedAt, kValue, kNotEvaluated } kind;
    uint64_t value;
};

struct OracleRow {
    uint64_t begin, end;  // the row holds in [begin, end), mapped addresses
    bool signal_frame;
    bool simple;  // CFA is sp or rbp + n, the caller at CFA - 8 and rbp kept or saved at CFA + n: a rule must
                  // do
    std::optional<uint64_t> cfa;
    std::array<OracleRegister, kDwarfRegisters> registers;
};

class ElfutilsOracle {
  public:
    explicit ElfutilsOracle(const MappedElf& elf);
    ~ElfutilsOracle();
    ElfutilsOracle(const ElfutilsOracle&) = delete;
    ElfutilsOracle& operator=(const ElfutilsOracle&) = delete;

    // Nothing: elfutils knows no row for that pc, or calls its CFA invalid.
    std::optional<OracleRow> row(uint64_t pc, const MadeUpStack& stack) const;

  private:
    const MappedElf& mapped_;
    Elf* elf_;
    Dwarf_CFI_s* cfi_;
};

struct Comparison {
    uint64_t functions = 0, rows = 0, pcs = 0, simple = 0;
    std::array<uint64_t, kCfaNoCfi + 1> rules{};  // per CfaRule, of rows
    std::vector<std::string> differences;         // the first few
};

// Compares all rows of every `stride`-th function, at each row's first and last byte.
Comparison compare_with_elfutils(const std::string& path, unsigned stride);

}
