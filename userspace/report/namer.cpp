#include "userspace/report/namer.h"

#include <fmt/format.h>

#include <vector>

#include "userspace/report/modules.h"

namespace unfreed {

std::string nameless(std::string_view path, std::uint64_t offset, std::string_view why) {
    const std::string_view file = path.substr(path.rfind('/') + 1);
    return fmt::format("{}+{:#x} [{}]", file.empty() ? "?" : file, offset, why);
}

std::uint32_t Namer::add_function(const Profile::Function& function) {
    const auto next = static_cast<std::uint32_t>(profile_.functions.size());
    const auto [entry, is_new] = functions_.emplace(function, next);
    if (is_new) {
        profile_.functions.push_back(function);
    }
    return entry->second;
}

std::uint32_t Namer::add_line(std::string_view name) {
    const StringIndex text = profile_.strings.intern(name);
    const auto line = static_cast<std::uint32_t>(profile_.lines.size());
    profile_.lines.push_back({add_function({text, text, 0, 0}), 0});
    return line;
}

std::uint32_t Namer::add_name(std::string_view name) {
    const auto location = static_cast<std::uint32_t>(profile_.locations.size());
    profile_.locations.push_back({Profile::kNoMapping, 0, add_line(name), 1});
    return location;
}

std::uint32_t Namer::add_creation(std::uint32_t location) {
    Profile::Location creation = profile_.locations[location];
    Profile::Line line = profile_.lines[creation.first_line];
    Profile::Function function = profile_.functions[line.function];
    function.name = profile_.strings.intern("created by " + profile_.strings[function.name]);
    line.function = add_function(function);
    creation.first_line = static_cast<std::uint32_t>(profile_.lines.size());
    creation.line_count = 1;
    profile_.lines.push_back(line);
    profile_.locations.push_back(creation);
    return static_cast<std::uint32_t>(profile_.locations.size() - 1);
}

std::uint32_t Namer::add_module(const Module& module, std::span<const std::uint64_t> addresses) {
    const symbolizer::ModuleNames names = symbolizer::name_addresses(
        {module.path, module.open_path, module.build_id, module.bias, module.start, module.end}, addresses);

    StringTable& strings = profile_.strings;
    std::vector<std::uint32_t> functions;
    functions.reserve(names.functions.size());
    for (const symbolizer::Function& f : names.functions) {
        functions.push_back(add_function(
            {strings.intern(f.name), strings.intern(f.system_name), strings.intern(f.file), f.start_line}));
    }

    const auto mapping = static_cast<std::uint32_t>(profile_.mappings.size());
    profile_.mappings.push_back({module.start, module.end, 0, strings.intern(module.path),
                                 strings.intern(names.build_id), names.has_functions, names.has_lines,
                                 names.has_lines, names.has_inlines});

    const auto first = static_cast<std::uint32_t>(profile_.locations.size());
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const symbolizer::Location& location = names.locations[i];
        const auto first_line = static_cast<std::uint32_t>(profile_.lines.size());
        for (const symbolizer::Line& line : std::span(names.lines).subspan(location.first, location.count)) {
            profile_.lines.push_back({functions[line.function], line.line});
        }
        if (location.count == 0) {
            add_line(is_anonymous(module)
                         ? (module.path.empty() ? "[unknown]" : module.path)
                         : nameless(module.path, addresses[i] - module.bias, text(location.reason)));
        }
        const auto count = static_cast<std::uint32_t>(profile_.lines.size()) - first_line;
        profile_.locations.push_back({mapping, addresses[i], first_line, count});
    }
    return first;
}

}  // namespace unfreed
