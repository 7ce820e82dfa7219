// Call frame information: how the caller's registers are found at one pc, from the .eh_frame of a mapped ELF
// file. Source of the format: DWARF 5, section 6.4; Linux Standard Base 5.0, 10.6 (.eh_frame, .eh_frame_hdr);
// the x86-64 psABI for register numbers; DW_CFA_GNU_* as binutils writes them.
//
// Runs inside the traced process, in any thread and in signal handlers, with any lock held by anybody: no
// allocation, no lock, no libc call, errno untouched, about 1 KB of stack. The tables are mapped ELF files,
// so they are trusted as far as the loader trusts them; yet every read is checked against the entry's own
// length and the object's mapping, and whatever does not parse is "no information".
#pragma once
#include <cstdint>

namespace unfreed::preload {

// What _dl_find_object tells about the code at a pc.
struct CodeObject {
    const uint8_t* eh_frame_hdr;  // dlfo_eh_frame; null: no unwind information
    uint64_t map_start;           // of the whole file (modules.h)
    uint64_t map_end;             // one past its last byte
};

// DWARF register numbers of x86-64.
enum DwarfRegister : uint8_t {
    kRax = 0,
    kRdx = 1,
    kRcx = 2,
    kRbx = 3,
    kRsi = 4,
    kRdi = 5,
    kRbpRegister = 6,
    kRspRegister = 7,
    kR8 = 8,
    kR12 = 12,
    kR15 = 15,
    kReturnAddress = 16,
    kDwarfRegisters = 17
};

// How the caller's value of a register is found. CFA: the canonical frame address, the caller's sp after its
// call.
enum class RegisterRule : uint8_t {
    kUnspecified,    // the ABI decides: callee-saved registers keep their value, rsp is the CFA, others are
                     // lost
    kSame,           // keeps its value
    kUndefined,      // lost; for the return address: there is no caller
    kOffset,         // saved at CFA + value
    kValOffset,      // is CFA + value
    kRegister,       // is in register `value`
    kExpression,     // saved at the address that the expression computes (CFA on its stack)
    kValExpression,  // is what the expression computes (CFA on its stack)
};

// A DWARF expression inside the mapped .eh_frame.
struct Expression {
    const uint8_t* begin;
    const uint8_t* end;
};

// The row of the table that holds at one pc. Small on purpose: rows are kept on the stack of whoever
// allocates.
struct CfiRow {
    int32_t value[kDwarfRegisters];      // an offset, a register, or for row_expression()
    RegisterRule rule[kDwarfRegisters];  //
    uint8_t cfa_register;                // CFA = cfa_register + cfa_value, unless cfa_is_expression
    bool cfa_is_expression;              // then cfa_value is for row_expression()
    bool signal_frame;                   // augmentation S: the caller was interrupted, its pc is exact
    int32_t cfa_value;
};

// The row that holds at `pc`: the exact pc of an interrupted frame, a return address - 1 otherwise.
// False: there is no information for `pc`, or it is malformed or uses what x86-64 does not.
bool find_cfi_row(const CodeObject& object, uint64_t pc, CfiRow* row);

// Does a function begin at `pc`, and no other row hold just before it? A return address like that was not
// left by a call: makecontext() and its kind write the address of an exit routine there, and the stack ends
// with it.
bool is_made_up_return_address(const CodeObject& object, uint64_t pc);

// The expression that a row's value or cfa_value stands for.
Expression row_expression(const CodeObject& object, int32_t value);

}
