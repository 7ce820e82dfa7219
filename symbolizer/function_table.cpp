#include "symbolizer/function_table.h"

#include <filesystem>

#include "symbolizer/demangle.h"

namespace unfreed::symbolizer {

std::uint32_t FunctionTable::intern(const std::string& system_name, const std::string& file,
                                    std::uint32_t start_line) {
    std::string key = system_name;
    key.append(1, '\0').append(file).append(1, '\0').append(std::to_string(start_line));
    const auto [found, is_new] =
        index_.try_emplace(std::move(key), static_cast<std::uint32_t>(functions_.size()));
    if (is_new)
        functions_.push_back({demangle(system_name), system_name,
                              std::filesystem::path(file).lexically_normal().string(), start_line});
    return found->second;
}

}  // namespace unfreed::symbolizer
