// Rules for Go code, and the steps between the stacks that Go runs on.
//
// A Go frame is like any other: the table (go_table.h) says where its return address is, and the frame
// pointer is saved right below that by every function that has a frame (cmd/internal/obj/x86: preprocess; the
// same holds for crosscall2, runtime/cgo/abi_amd64.h). What is special is that Go runs C code on another
// stack than the goroutine that called it (src/runtime/asm_amd64.s):
//
//   runtime.asmcgocall    runs C on the thread's own stack, and keeps there the goroutine, and how far its
//   stack pointer was
//                         from its stack's upper end: the stack may move while C calls back. Where it keeps
//                         them differs between versions, so that is read from the code that it returns to
//   runtime.cgocallback   the way back: runs Go on the goroutine's stack again, in a frame like the one it
//   has on the
//                         thread's stack, which the frame pointer still points to
//   runtime.goexit        where a goroutine's stack ends; with --go-created-by its path goes on to the `go`
//   statement
//                         that made it (go_creation.h)
//   runtime.systemstack   runs a part of the runtime on the thread's stack. The frame pointer still is that
//   of its
//                         caller: that caller itself is passed over, and the step counted as one by frame
//                         pointer
//
// All slots that a step reads are checked again like those of any step (stack_record.h); where the
// goroutine's stack is, is one of them. Nothing of the runtime's memory is ever unmapped that these slots lie
// in: its heap.
#pragma once
#include "preload/walk.h"

namespace unfreed::preload {

// The rule for Go code at `key` (a pc, with UF_PC_EXACT for an interrupted instruction); false: not Go code.
bool go_rule(uint64_t key, Rule* rule);

// The step from a frame whose rule is kCfaGoCall, kCfaGoCallOnSame, kCfaGoCallback, kCfaGoSwitch or
// kCfaGoExit. It may lead to lower addresses, on another stack.
StepEnd step_between_stacks(Walk* walk, int index, const KnownRule& rule, Frame* next, uint64_t* slot);

}
