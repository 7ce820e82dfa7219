// The functions that the ebpf backend knows: those of preload/contract/functions.def, the same under the
// names that allocators give them when they do not replace malloc, and --pair. What a call of each means.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpf/contract/capture.h"

namespace unfreed::ebpf {

struct Function {
    std::uint32_t index = 0;  // into Functions::names
    uf_call_kind kind = UF_CALL_FREE;
    bool is_inner = false;     // a static libc's own: not probed, but what it maps is not the program's
    bool wraps = false;        // silences what it calls: it may give another address than it got
    bool is_operator = false;  // operator new or delete: as a rule a thin layer on malloc or free
    bool may_throw = false;    // where its module throws at all, exceptions can leave it
    bool aligned = false;      // an operator with an alignment: rounds the size up before it asks malloc
    bool allocates() const { return kind < UF_CALL_FREE || kind == UF_CALL_ASK; }
    bool makes_matrix() const { return kind == UF_CALL_SHAPE || kind == UF_CALL_SHAPE_OF; }
};

class Functions {
  public:
    explicit Functions(const std::vector<std::pair<std::string, std::string>>& pairs);

    // The function that a symbol names; nullptr: none that we record.
    const Function* find(std::string_view symbol) const;

    // The index of any function of the list, system calls too; nothing: not in it.
    std::optional<std::uint32_t> index_of(std::string_view symbol) const;

    // By function index: readable names, and the domain (index into domains()) of what they allocate.
    const std::vector<std::string>& names() const { return names_; }
    const std::vector<std::string>& domains() const { return domains_; }
    std::uint32_t domain_of(std::uint32_t function) const { return domain_of_[function]; }

    static constexpr std::uint32_t kMallocDomain = 0, kMmapDomain = 1, kOpencvDomain = 2;
    // The name of a UF_FUNCTION_ of the kernel's.
    std::uint32_t of_system_call(std::uint32_t call) const {
        return call == UF_FUNCTION_BRK ? brk_ : call == UF_FUNCTION_MREMAP ? mremap_ : mmap_;
    }

  private:
    std::uint32_t add_name(const std::string& symbol, std::uint32_t domain);

    std::vector<std::string> names_;
    std::vector<std::uint32_t> domain_of_;
    std::vector<std::string> domains_;
    std::unordered_map<std::string, Function> by_symbol_;
    std::unordered_map<std::string, std::uint32_t> index_of_;
    std::uint32_t mmap_ = 0;
    std::uint32_t mremap_ = 0;
    std::uint32_t brk_ = 0;
};

}  // namespace unfreed::ebpf
