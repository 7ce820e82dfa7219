// What the ebpf backend needs to know of one mapped file: its code segments, build-id, the allocation
// functions in it with the place for a probe in each, and its unwind table. Read once per file, shared by
// every process that maps it.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "symbolizer/unwind/unwind_table.h"
#include "userspace/capture/ebpf/functions.h"
#include "userspace/process/descriptor.h"

namespace unfreed::ebpf {

// A function of Functions, found in the file.
struct FoundFunction {
    Function function;
    std::uint64_t address = 0;       // in the file's symbol table
    std::uint64_t size = 0;          // 0: unknown
    std::uint64_t probe_offset = 0;  // in the file: where to probe it
    bool emulated = false;           // the probe is a cheap one
    bool may_throw = false;          // exceptions can leave it
    bool probed = true;              // false: only its name counts, since what it calls is probed
    // Places inside that serve instead of the probe at its entry and the one at its return; none: there are
    // no such places.
    struct Inside {
        std::uint64_t probe_offset;  // in the file
        std::uint64_t cookie;        // kind and place (UF_COOKIE_INSIDE)
    };
    std::vector<Inside> inside;
};

class CodeFile {
  public:
    // Of a descriptor; one that is no ELF file has no functions and no rows.
    CodeFile(Descriptor file, const Functions& functions);
    // Of an image in memory: [vdso].
    explicit CodeFile(std::vector<std::byte> image);

    const std::string& build_id() const { return build_id_; }
    int descriptor() const { return file_.get(); }
    const unwind::UnwindTable& table() const { return table_; }
    const std::vector<FoundFunction>& functions() const { return functions_; }

    bool is_executable() const { return is_executable_; }  // a program, not a library

    // Address in a process = address in the file's symbol table + bias, for a mapping of `offset` at `begin`.
    std::optional<std::uint64_t> bias(std::uint64_t begin, std::uint64_t offset) const;

    // Its lowest code segment; nothing: it has none.
    struct CodeSegment {
        std::uint64_t offset, address;
    };
    std::optional<CodeSegment> code_segment() const;

    // The recorded function whose code holds `address` (file's symbol table); nullptr: none.
    const FoundFunction* function_at(std::uint64_t address) const;

    // The symbol that the call instruction before `return_address` (file's symbol table) goes to by way of
    // the procedure linkage or global offset table; empty: none of those.
    std::string called_symbol(std::uint64_t return_address) const;
    // The recorded function that it goes to directly; nullptr: none.
    const FoundFunction* called_function(std::uint64_t return_address) const;
    // Is the call before `return_address` a `go` statement's?
    bool starts_goroutine(std::uint64_t return_address) const;
    bool is_allocator() const;  // a library that defines malloc: libc, jemalloc

    std::uint32_t kernel_table = 0;  // number of its table in the kernel's `tables`
    bool kernel_table_known = false;

  private:
    struct Segment {
        std::uint64_t offset, address, file_size;
        bool code;
    };
    void read_elf(const Functions& functions);
    std::optional<std::uint64_t> called_directly(std::uint64_t return_address) const;
    std::optional<std::uint64_t> file_offset(std::uint64_t address) const;
    std::vector<std::byte> bytes_at(std::uint64_t address, std::size_t count) const;
    void choose_sites();
    bool is_known_opencv() const;
    const FoundFunction* allocating_at(std::uint64_t address) const;
    std::optional<std::uint64_t> slot_of_stub(std::uint64_t address) const;
    std::string symbol_of_slot(std::uint64_t slot) const;
    std::string symbol_of_stub(std::uint64_t address) const;
    void choose_inside(FoundFunction& found, std::span<const std::byte> code) const;
    bool forwards(const FoundFunction& found, std::span<const std::byte> code) const;
    void choose_operator(FoundFunction& found, std::span<const std::byte> code, bool has_malloc) const;

    Descriptor file_;
    std::vector<std::byte> image_;
    std::vector<Segment> segments_;
    std::string build_id_;
    bool is_executable_ = false;
    bool throws_ = false;                          // it names what throws exceptions
    std::optional<std::uint64_t> memset_;          // address of memset, or of what chooses the best one
    std::vector<std::uint64_t> memset_slots_;      // GOT slots that lead there
    std::optional<std::uint64_t> opencv_version_;  // address of the function that tells it
    unwind::UnwindTable table_;
    std::vector<FoundFunction> functions_;  // by address
    std::vector<std::pair<std::uint64_t, std::string>>
        import_slots_;  // GOT slot -> symbol, by slot; known names only
};

}  // namespace unfreed::ebpf
