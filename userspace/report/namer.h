// Namer: turns what the symbolizer says of one module after another into the profile's functions, lines and
// locations, each function once.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "symbolizer/symbolizer.h"
#include "userspace/report/profile.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed {

class Namer {
  public:
    explicit Namer(Profile& profile) : profile_(profile) {}

    // Adds a mapping for `module` and a location for each address, in their order; gives the first one's
    // index.
    std::uint32_t add_module(const Module& module, std::span<const std::uint64_t> addresses);

    // A location without address that is called `name`: an allocation function, or what stands for a gap.
    std::uint32_t add_name(std::string_view name);

    // A location like `location`, called "created by" its innermost function, with the line of that.
    std::uint32_t add_creation(std::uint32_t location);

    // A line that is only a name; gives its index.
    std::uint32_t add_line(std::string_view name);

  private:
    struct FunctionHash {
        std::size_t operator()(const Profile::Function& f) const {
            return ((std::size_t{f.name} * 31 + f.system_name) * 31 + f.file) * 0x9e3779b97f4a7c15u +
                   static_cast<std::size_t>(f.start_line);
        }
    };
    std::uint32_t add_function(const Profile::Function& function);

    Profile& profile_;
    std::unordered_map<Profile::Function, std::uint32_t, FunctionHash> functions_;
};

// "libfoo.so+0x1234 [why]": what stands for a frame without name; the offset is the address in the file's
// symbol table, as addr2line takes it.
std::string nameless(std::string_view path, std::uint64_t offset, std::string_view why);

}  // namespace unfreed
