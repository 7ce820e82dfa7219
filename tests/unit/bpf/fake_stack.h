// bpf/walk.h over a stack that a test wrote.
#pragma once
#include <cstdint>
#include <map>

#include "bpf/contract/capture.h"

using FakeStack = std::map<std::uint64_t, std::uint64_t>;  // address -> word

static int uf_read_word(void* memory, std::uint64_t address, std::uint64_t* value) {
    const auto& stack = *static_cast<const FakeStack*>(memory);
    const auto found = stack.find(address);
    if (found == stack.end()) return -1;
    *value = found->second;
    return 0;
}

#include "bpf/walk.h"
