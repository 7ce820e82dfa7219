// Where a goroutine was created: the `go` statement, as the outermost frame of its stack (--go-created-by).
//
// The goroutine's record (runtime.g) holds the address that the `go` statement's call of runtime.newproc
// returns to (gopc; src/runtime/proc.go: newproc). Where in the record differs between versions of Go; it is
// the one word there that is such an address, which the call instruction before it and Go's own table
// (go_table.h) prove. So no version needs to be known, and none is guessed at.
#pragma once
#include <cstdint>

namespace unfreed::preload {

enum class Creator : uint8_t {
    kNone,         // it is no such address
    kRuntime,      // the runtime's own start: the first goroutine
    kGoStatement,  // a function of Go
};

// What starts a goroutine by the call before `return_address`?
Creator creator_at(uint64_t return_address);

struct Creation {
    Creator creator;   // kNone: the record has no such word, or more than one
    uint64_t address;  // where gopc is
};

// Of a goroutine whose record, at `goroutine`, can be read.
Creation find_creation(uint64_t goroutine);

}
