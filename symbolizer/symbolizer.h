// Symbolizer: from addresses of a process to functions, files, lines and inlined frames, one module at a
// time.
//
// It knows ELF, DWARF and mangled names; it knows nothing of allocations, snapshots or reports, and includes
// nothing of userspace/. A missing name is no error but a Reason that can be shown to people: nothing here
// throws for a missing, foreign or damaged file. Calls share no state, so that modules may be named in
// parallel.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unfreed::symbolizer {

// A file mapped as code in one process, as it was seen while the process lived.
struct ModuleInput {
    std::string path;         // as the process named it; [vdso] and [jit] (anonymous code) are known too
    std::string open_path;    // where to read it now when that differs (/proc/PID/map_files/...); else empty
    std::string build_id;     // lower-case hex; empty: none known, any file at the path is believed
    std::uint64_t bias = 0;   // address in the process = address in the file's symbol table + bias
    std::uint64_t start = 0;  // mapped addresses [start, end); both 0: not known, any address is looked up
    std::uint64_t end = 0;
};

struct Options {
    // Roots of separate debug files: ROOT/.build-id/xx/yyyy.debug, ROOT/folder-of-the-file/debuglink.
    std::vector<std::string> debug_roots{"/usr/lib/debug"};
};

// Why an address has no name.
enum class Reason : std::uint8_t {
    kNone,           // it has one
    kNoFile,         // the file is not there any more
    kUnreadable,     // the file is there, but may not be read
    kFileReplaced,   // the file there now is another build than the one that ran
    kNotElf,         // the mapped file is no ELF file
    kDamaged,        // an ELF file that contradicts itself
    kNoSymbols,      // stripped, and no debug file found
    kNoSymbolHere,   // there are symbols, but none covers this address
    kJit,            // anonymous memory: code made at run time
    kOutsideModule,  // not an address of this module
};
// One clause for people, lower case: "stripped, and no debug file found". Empty for kNone.
std::string_view text(Reason reason);

struct Function {
    std::string name;              // readable: demangled C++, Rust, D; else the system name
    std::string system_name;       // as the linker knows it (or as DWARF names it); never empty
    std::string file;              // source file that its lines refer to; empty: not known
    std::uint32_t start_line = 0;  // where it is declared in that file; 0: not known
};

struct Line {
    std::uint32_t function = 0;  // index into ModuleNames::functions
    std::uint32_t line = 0;      // in the function's file; 0: not known
};

// The frames of one address: lines[first .. first+count), the innermost inlined one first, the function that
// owns the code last. count is 0 exactly when reason is not kNone.
struct Location {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    Reason reason = Reason::kNone;
};

struct ModuleNames {
    std::vector<Function> functions;  // each once
    std::vector<Line> lines;
    std::vector<Location> locations;  // parallel to the addresses asked
    std::string build_id;        // of the file that was read, else as given; lower-case hex, may be empty
    bool has_functions = false;  // any address was named
    bool has_lines = false;      // DWARF line tables were found and used
    bool has_inlines = false;    // inlined frames were looked for: their absence says that there are none
};

// Names `addresses` (in the process, any order, repeats allowed; return addresses already moved back into the
// call instruction by the caller, since the instruction after a call may belong to another line or function).
ModuleNames name_addresses(const ModuleInput& module, std::span<const std::uint64_t> addresses,
                           const Options& options = {});

// Build-id of the ELF file at `path` in lower-case hex; empty: no such file, not ELF, or no build-id.
std::string build_id_of(const std::string& path);

}  // namespace unfreed::symbolizer
