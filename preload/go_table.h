// Go's own table of functions (.gopclntab), as the runtime reads it for its tracebacks: for each pc of Go
// code, how far the stack pointer is from the frame's return address. Go code has no other unwind information
// in memory.
//
// Source of the format: Go, src/runtime/symtab.go, runtime2.go (_func); told in symbolizer/go/line_table.h,
// which reads the same table for names. Here it is read in the traced process: any thread, any signal
// handler, no allocation, no lock, and no system call. The table is found in memory once per module, by its
// header, in the parts of a Go module that cannot be written.
//
// The table is a mapped file, trusted as far as the loader trusts it; yet every read stays inside of its
// mapping.
#pragma once
#include <cstdint>

namespace unfreed::preload {

struct GoFunction {
    uint64_t entry;       // its first instruction
    const char* name;     // of the table: terminated, inside of its mapping
    int32_t frame_bytes;  // from the stack pointer at the pc to the return address, unless it sets_sp
    bool sets_sp;         // to values that the table does not tell (assembly; known since Go 1.17)
};

// The Go function at `lookup_pc` (an exact pc, a return address - 1 otherwise). False: not Go code, or its
// table cannot be read, or does not cover the pc.
bool find_go_function(uint64_t lookup_pc, GoFunction* function);

}
