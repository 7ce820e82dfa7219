#include "tests/unit/symbolizer/sample_places.h"

#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include "tests/unit/symbolizer/sample/sample.h"

namespace {

std::map<std::string, std::pair<std::uint64_t, std::uint32_t>> recorded;

void record(const char* place, int line) {
    const auto address = reinterpret_cast<std::uint64_t>(__builtin_return_address(0)) - 1;
    recorded[place] = {address, static_cast<std::uint32_t>(line)};
}

struct Loaded {
    void* handle;
    std::uint64_t bias;
};

Loaded load(const std::string& library) {
    void* handle = dlopen(sample_path(library).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw std::runtime_error(dlerror());
    link_map* map = nullptr;
    dlinfo(handle, RTLD_DI_LINKMAP, &map);
    return {handle, map->l_addr};
}

}  // namespace

Place sample_place(const std::string& library, const std::string& name) {
    const Loaded loaded = load(library);
    recorded.clear();
    reinterpret_cast<decltype(&sample_run)>(dlsym(loaded.handle, "sample_run"))(record);
    dlclose(loaded.handle);
    const auto found = recorded.find(name);
    if (found == recorded.end()) throw std::runtime_error("no place " + name);
    return {found->second.first - loaded.bias, found->second.second};
}

std::uint64_t sample_assembly_address(const std::string& library) {
    const Loaded loaded = load(library);
    const auto get = reinterpret_cast<void* (*)()>(dlsym(loaded.handle, "sample_assembly_address"));
    const std::uint64_t address = reinterpret_cast<std::uint64_t>(get()) - loaded.bias;
    dlclose(loaded.handle);
    return address;
}

std::uint32_t line_with(const std::string& mark) {
    std::ifstream source(SAMPLE_SOURCE);
    std::uint32_t number = 0;
    for (std::string line; std::getline(source, line);) {
        ++number;
        if (line.ends_with("// " + mark)) return number;
    }
    throw std::runtime_error("no line with " + mark);
}

Named name_one(const unfreed::symbolizer::ModuleInput& module, std::uint64_t address,
               const unfreed::symbolizer::Options& options) {
    const std::uint64_t addresses[] = {address};
    const auto names = unfreed::symbolizer::name_addresses(module, addresses, options);
    const auto location = names.locations.at(0);
    Named named{{}, location.reason};
    for (std::uint32_t i = 0; i < location.count; ++i) {
        const auto& line = names.lines.at(location.first + i);
        const auto& function = names.functions.at(line.function);
        named.frames.push_back(function.name);
        if (!function.file.empty())
            named.frames.back() += " " + std::filesystem::path(function.file).filename().string() + ":" +
                                   std::to_string(line.line);
    }
    return named;
}

Named name_one(const std::string& path, std::uint64_t address, const unfreed::symbolizer::Options& options) {
    unfreed::symbolizer::ModuleInput module;
    module.path = path;
    return name_one(module, address, options);
}
