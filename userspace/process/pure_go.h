// Programs that Go made without cgo: they call no C allocator, and Go's own heap is not malloc's.
#pragma once
#include <string>

namespace unfreed {

// Has Go's function table (.gopclntab), and the package runtime/cgo is not in it. False when it cannot be
// read.
bool is_pure_go(const std::string& executable);

// What unfreed can and cannot say of such a program: one sentence.
std::string pure_go_note(const std::string& name);

}  // namespace unfreed
