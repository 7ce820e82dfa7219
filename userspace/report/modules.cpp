#include "userspace/report/modules.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace unfreed {
namespace {

std::string identity(const Module& module) {
    std::string key = module.path;
    key += '\0';
    if (!module.build_id.empty()) {
        return key += module.build_id;
    }
    key += module.open_path;
    key += '\0';
    return is_anonymous(module) ? key += std::to_string(module.process) : key;
}

}  // namespace

ModuleGroups group_modules(const std::vector<Module>& modules, std::string_view executable) {
    ModuleGroups groups;
    std::unordered_map<std::string, std::uint32_t> known;
    const auto main = std::find_if(modules.begin(), modules.end(), [&](const Module& module) {
        return !executable.empty() && module.path == executable;
    });
    if (main != modules.end()) {
        known.emplace(identity(*main), 0);
        groups.first.push_back(static_cast<ModuleIndex>(main - modules.begin()));
    }
    for (ModuleIndex i = 0; i < modules.size(); ++i) {
        const auto next = static_cast<std::uint32_t>(groups.first.size());
        const auto [entry, is_new] = known.emplace(identity(modules[i]), next);
        if (is_new) {
            groups.first.push_back(i);
        }
        groups.group_of.push_back(entry->second);
    }
    return groups;
}

bool is_shim(const Module& module) {
    const std::string_view path = module.path;
    return path.ends_with("/libunfreed_preload.so") || path.ends_with("/libunfreed_preload_checked.so");
}

bool is_anonymous(const Module& module) {
    return module.path.empty() || (module.path.front() == '[' && module.path != "[vdso]");
}

}  // namespace unfreed
