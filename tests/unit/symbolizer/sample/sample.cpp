// The library whose functions the tests name: each place below calls back, so that a test learns real return
// addresses, and what it must be told about them. Built in several ways (CMakeLists.txt).
#include "tests/unit/symbolizer/sample/sample.h"

// Not a tail call: the address must stay inside the function that is named.
#define HERE(place)                    \
    do {                               \
        record((place), __LINE__);     \
        asm volatile("" ::: "memory"); \
    } while (false)

namespace sample {
namespace {

[[gnu::noinline]] void local(Record record) {
    HERE("local");
}

[[gnu::always_inline]] inline void innermost(Record record) {
    HERE("innermost");
}

[[gnu::always_inline]] inline void middle(Record record) {
    asm volatile("");
    innermost(record);  // sample.middle
}

}  // namespace

struct Box {
    [[gnu::noinline]] void method(Record record, int depth);
};

void Box::method(Record record, int depth) {
    HERE("method");
    if (depth > 0) method(record, depth - 1);
    asm volatile("");
}

[[gnu::noinline]] void outer(Record record) {
    asm volatile("");
    middle(record);  // sample.outer
    asm volatile("");
}

}  // namespace sample

// Assembly as found in the wild: neither type nor size.
asm(R"(
    .text
    .globl sample_assembly
sample_assembly:
    nop
    nop
    ret
    .globl sample_assembly_end
    .type sample_assembly_end, @function
sample_assembly_end:
    ret
    .size sample_assembly_end, 1
)");
extern "C" void sample_assembly();

extern "C" void sample_run(sample::Record record) {
    sample::local(record);
    sample::Box().method(record, 0);
    sample::outer(record);
    HERE("plain");
}

extern "C" void* sample_assembly_address() {
    return reinterpret_cast<void*>(&sample_assembly);
}
