#include "symbolizer/demangle.h"

#include <libiberty/demangle.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace unfreed::symbolizer {
namespace {

// A mangled name of 200 bytes can expand to gigabytes, since it may refer back to its own parts. The names
// come from files that nobody vouches for, so the text is stopped at a length no real name has.
constexpr std::size_t kLongestName = 64 * 1024;
constexpr int kOptions = DMGL_PARAMS | DMGL_ANSI;

struct TooLong {};

// Leaves libiberty's printer by exception: that is C, but compiled with unwind tables, as all of x86-64 is,
// and the two printers that are called with a callback keep everything on the stack.
void append(const char* text, std::size_t length, void* out) {
    auto& readable = *static_cast<std::string*>(out);
    if (readable.size() + length > kLongestName) throw TooLong{};
    readable.append(text, length);
}

using Printer = int (*)(const char*, int, demangle_callbackref, void*);

bool print(Printer printer, const std::string& name, std::string& readable) {
    readable.clear();
    try {
        return printer(name.c_str(), kOptions, append, &readable) != 0 && !readable.empty();
    } catch (const TooLong&) {
        return false;
    }
}

}  // namespace

std::string demangle(const std::string& name) {
    if (name.size() < 3 || name.size() > kLongestName || name[0] != '_') return name;
    std::string readable;
    // Rust first: its legacy names are valid C++ names too, but read worse as such.
    if (print(rust_demangle_callback, name, readable)) return readable;
    if (print(cplus_demangle_v3_callback, name, readable)) return readable;
    if (name[1] == 'D') {
        std::unique_ptr<char, decltype(&std::free)> d(dlang_demangle(name.c_str(), kOptions), std::free);
        if (d != nullptr && std::string_view(d.get()).size() <= kLongestName) return d.get();
    }
    return name;
}

std::string without_clone_suffix(const std::string& name) {
    if (!name.starts_with("_Z")) return name;
    // Rust's legacy names have dots of their own, and end with a hash: "17h", 16 hexadecimal digits, "E".
    constexpr std::size_t kHash = 20;
    const std::size_t hash = name.rfind("17h");
    const bool is_rust = hash != name.npos && name.size() - hash >= kHash && name[hash + kHash - 1] == 'E';
    return name.substr(0, name.find('.', is_rust ? hash + kHash : 0));
}

}  // namespace unfreed::symbolizer
