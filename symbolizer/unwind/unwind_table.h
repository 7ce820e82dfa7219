// Unwind tables out of ELF: the call frame information of one file (.eh_frame, .debug_frame) as sorted rows
// that the in-kernel walk looks up (bpf/contract/unwind_row.h). Knows ELF and DWARF, nothing of processes.
//
// Sources: LSB "Exception Frames" (.eh_frame), DWARF 5 section 6.4 (.debug_frame and the instructions),
// System V ABI x86-64 section 3.7 (register numbers).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bpf/contract/unwind_row.h"

namespace unfreed::unwind {

// Bytes of one section as they are in the file, and the address (in the file's symbol table) that they load
// at.
struct FrameSection {
    std::span<const std::byte> bytes;
    std::uint64_t address = 0;
    bool debug_frame = false;  // DWARF's own encoding, not the one of .eh_frame
};

// [begin, end) in the file's symbol table addresses.
struct AddressRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

// How Go starts goroutines, where the file is Go's (addresses in the file's symbol table).
struct GoStart {
    std::vector<std::uint64_t> newproc;  // runtime.newproc, which a `go` statement calls; its ABI wrapper
    bool creation_known = false;         // goexit's row says where goroutines have their creation
    std::vector<AddressRange> first;     // what makes the first one: runtime.rt0_go, through that wrapper
};

struct UnwindTable {
    std::uint64_t base = 0;     // address, in the file's symbol table, that rows count from
    std::vector<uf_row> rows;   // by ascending pc; a stretch without information is a row UF_CFA_NO_ROW
    std::size_t functions = 0;  // frame description entries used
    std::size_t damaged = 0;    // entries that contradict themselves: left out
    GoStart go;
};

// Rows of what `sections` say about `code`; where two sections speak, the first one counts. Never throws for
// damaged input: what cannot be read is left out and counted.
UnwindTable compile_sections(std::span<const FrameSection> sections, std::span<const AddressRange> code);

// Rows of an ELF file, or of an ELF image as it lies in memory ([vdso]). A file that is no x86-64 ELF file
// gives an empty table.
UnwindTable compile_file(int descriptor);
UnwindTable compile_image(std::span<const std::byte> image);

// The rule at `address` (file's symbol table): what the kernel finds too.
uf_rule rule_at(const UnwindTable& table, std::uint64_t address);

}  // namespace unfreed::unwind
