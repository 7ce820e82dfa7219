// Where a goroutine was created: the `go` statement, as the outermost frame of its stack (--go-created-by).
//
// The goroutine's record (runtime.g) holds the address that the `go` statement's call of runtime.newproc
// returns to (gopc; src/runtime/proc.go: newproc). Where in the record differs between versions of Go; it is
// the one word there that is such an address, which the call instruction before it and Go's own table
// (go_table.h) prove. So no version needs to be known, and none is guessed at.
#pragma once
#include <cstdint>

namespace unfreed::preload {

// Does the call before `return_address` start a goroutine for a function of Go? False for the first one,
// which the runtime's own start makes.
bool is_go_statement(uint64_t return_address);

// The address in the record of `goroutine`, which can be read, where gopc is; 0: it was not made by a `go`
// statement, or there is no such word.
uint64_t find_creation(uint64_t goroutine);

}
