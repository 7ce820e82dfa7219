// Hooks of functions that allocate nothing but change what recorded stacks mean.
#include "preload/late.h"
#include "preload/session.h"
#include "preload/visibility.h"

using namespace unfreed::preload;

namespace {
Late<int(void*)> real_dlclose{"dlclose", nullptr};
}

// Other code may lie at the same addresses from now on.
UF_HOOK int dlclose(void* library) noexcept {
    int result = real_dlclose.get(reinterpret_cast<uint64_t>(__builtin_return_address(0)))(library);
    code_was_unloaded();
    return result;
}
