// Rows for Go code, which has no call frame information that survives stripping: out of Go's own table, where
// its tracebacks find how big each frame is (symbolizer/go/line_table.h).
//
// Go keeps rbp right below the return address in every function that has a frame (cmd/internal/obj/x86:
// preprocess; crosscall2 does the same, runtime/cgo/abi_amd64.h). C code runs on another stack than the
// goroutine that called it: where runtime.asmcgocall keeps that one differs between versions and is read from
// the code that C returns to (src/runtime/asm_amd64.s). Assembly that sets sp is left by its frame pointer;
// so is what leads from the goroutine's stack back to the thread's (cgocallback), or the other way
// (systemstack).
//
// goexit's row has beside "outermost" where in the goroutine's record the address of its `go` statement is
// (gopc, in 8-byte units; 0: not known). That too differs between versions, and is read from
// runtime.newproc1, which writes gopc, ancestors and startpc, neighbours since Go 1.12, one after the other
// (src/runtime/proc.go).
#pragma once
#include <libelf.h>

#include <optional>
#include <vector>

#include "bpf/contract/unwind_row.h"
#include "symbolizer/unwind/unwind_table.h"

namespace unfreed::unwind {

struct GoRows {
    AddressRange code;         // all that the table speaks of, in the file's addresses
    std::vector<uf_row> rows;  // by ascending pc, counted from code.begin; from code.end on others count
    std::size_t functions = 0;
    GoStart start;
};

// Nothing: no Go code that could be read.
std::optional<GoRows> go_rows(Elf* elf);

// Puts the Go rows in place of what `table` has for their code.
void put_in_place(const GoRows& go, UnwindTable& table);

}  // namespace unfreed::unwind
