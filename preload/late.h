// Functions that are found at their first use, and only when the program has them: C++'s allocation
// functions, OpenCV's.
#pragma once
#include <cstdint>

namespace unfreed::preload {

// The next definition of `symbol` after ours: in the program's global scope, or else (a library opened with
// RTLD_LOCAL, as Python opens its modules) in the scope of the library that the call came from. Null: none.
void* find_late(const char* symbol, uint64_t caller);

// Is this code in the C++ runtime's own library, whose operator new goes on to malloc?
bool in_cxx_runtime(const void* code);

// The code of the function at `code` and of its size is an inside (inner_calls.h).
void add_inner_function(const void* code);

// What our own hooks call is inside too: an allocation function may end with a jump to another, which then
// returns to the hook. So hooks that record do not themselves end with a jump to the real function.
void add_inner_shim();

// One such function. `found` is written once found (release); all threads find the same.
template <class Function>
struct Late {
    const char* symbol;
    Function* found;

    Function* get(uint64_t caller) {
        Function* function = __atomic_load_n(&found, __ATOMIC_ACQUIRE);
        if (__builtin_expect(function == nullptr, 0)) {
            function = reinterpret_cast<Function*>(find_late(symbol, caller));
            __atomic_store_n(&found, function, __ATOMIC_RELEASE);
        }
        return function;
    }
};

}
