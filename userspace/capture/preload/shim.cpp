#include "userspace/capture/preload/shim.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "preload/contract/table.h"
#include "userspace/error.h"

namespace unfreed {
namespace {

constexpr const char* kShimName = "libunfreed_preload.so";
constexpr std::uint64_t kShimItself = 1ull << 30;  // its code, its threads' own memory, its caches

}  // namespace

std::string find_shim() {
    std::error_code failed;
    const std::filesystem::path folder =
        std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
    for (const std::filesystem::path& candidate :
         {folder / kShimName, folder.parent_path() / "lib" / "unfreed" / kShimName}) {
        if (!std::filesystem::exists(candidate, failed)) continue;
        if (candidate.string().find_first_of(" :\t") != std::string::npos)
            throw Error(candidate.string(), "LD_PRELOAD cannot name a path with a space or colon",
                        "move unfreed to another folder");
        return candidate.string();
    }
    throw Error("the preload backend",
                std::string(kShimName) + " is neither beside the command nor in ../lib/unfreed",
                "build or install unfreed again");
}

std::string preload_first(const std::string& shim, const char* inherited) {
    std::string others = inherited != nullptr ? inherited : "";
    if (others.empty()) return shim;
    if (others == shim || others.starts_with(shim + ":") || others.starts_with(shim + " ")) return others;
    return shim + ":" + others;
}

AddressSpace plan_address_space(rlimit inherited, bool may_raise_hard_limit) {
    AddressSpace plan;
    if (inherited.rlim_cur == RLIM_INFINITY) return plan;
    const rlim_t needed = inherited.rlim_cur + UF_TABLE_BYTES + kShimItself;
    plan.possible =
        inherited.rlim_max == RLIM_INFINITY || inherited.rlim_max >= needed || may_raise_hard_limit;
    if (!plan.possible) return plan;
    plan.program = inherited.rlim_cur;
    plan.raised = rlimit{needed, std::max(inherited.rlim_max, needed)};
    return plan;
}

AddressSpace plan_address_space() {
    rlimit inherited{RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(RLIMIT_AS, &inherited);
    AddressSpace plan = plan_address_space(inherited, true);
    if (!plan.raised) return plan;
    if (setrlimit(RLIMIT_AS, &*plan.raised) != 0) return plan_address_space(inherited, false);
    setrlimit(RLIMIT_AS, &inherited);
    return plan;
}

}  // namespace unfreed
