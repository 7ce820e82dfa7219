#include "userspace/capture/ebpf/functions.h"

#include <cxxabi.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

namespace unfreed::ebpf {
namespace {

std::string readable(const std::string& symbol) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
    return name ? name.get() : symbol;
}

// How the arguments of a function that allocates say its size.
std::optional<uf_call_kind> kind_of(std::string_view symbol) {
    if (symbol == "calloc") return UF_CALL_PRODUCT;
    if (symbol == "realloc") return UF_CALL_RESIZE;
    if (symbol == "reallocarray") return UF_CALL_RESIZE_PRODUCT;
    if (symbol == "posix_memalign") return UF_CALL_OUT;
    if (symbol == "aligned_alloc" || symbol == "memalign") return UF_CALL_SIZE_SECOND;
    if (symbol == "mmap" || symbol == "mmap64" || symbol == "mremap" || symbol == "munmap")
        return std::nullopt;
    return UF_CALL_SIZE;
}

struct Listed {
    const char* symbol;
    const char* domain;
    bool allocates;
};
constexpr Listed kListed[] = {
#define UF_ALLOCATES(identifier, symbol, domain) {#symbol, #domain, true},
#define UF_FREES(identifier, symbol, domain) {#symbol, #domain, false},
#include "preload/contract/functions.def"
#undef UF_ALLOCATES
#undef UF_FREES
};

// Allocators that are linked in under names of their own: jemalloc, mimalloc, tcmalloc, jemalloc in Rust.
constexpr std::array kPrefixes{"je_", "mi_", "tc_", "_rjem_", "jemalloc_"};
struct Alias {
    const char* symbol;
    const char* means;
    uf_call_kind kind;
};
constexpr Alias kAliases[] = {
    {"_rjem_mallocx", "malloc", UF_CALL_SIZE},
    {"_rjem_rallocx", "realloc", UF_CALL_RESIZE},
    {"_rjem_sdallocx", "free", UF_CALL_FREE},
    {"_rjem_dallocx", "free", UF_CALL_FREE},
    {"je_mallocx", "malloc", UF_CALL_SIZE},
    {"je_rallocx", "realloc", UF_CALL_RESIZE},
    {"je_sdallocx", "free", UF_CALL_FREE},
    {"je_dallocx", "free", UF_CALL_FREE},
    {"mi_zalloc", "calloc", UF_CALL_SIZE},
    {"mi_malloc_aligned", "aligned_alloc", UF_CALL_SIZE},
    {"mi_zalloc_aligned", "calloc", UF_CALL_SIZE},
    {"mi_realloc_aligned", "realloc", UF_CALL_RESIZE},
    {"mi_free_size", "free", UF_CALL_FREE},
    {"mi_free_size_aligned", "free", UF_CALL_FREE},
    {"tc_cfree", "free", UF_CALL_FREE},
    {"cfree", "free", UF_CALL_FREE},
};

}  // namespace

Functions::Functions(const std::vector<std::pair<std::string, std::string>>& pairs) {
    domains_ = {"malloc", "mmap", "opencv"};
    add_name("an unknown function", kMallocDomain);
    for (const Listed& listed : kListed) {
        std::uint32_t domain = 0;
        while (domains_[domain] != listed.domain) ++domain;
        Function function;
        function.index = add_name(listed.symbol, domain);
        const std::string symbol = listed.symbol;
        if (symbol == "mmap") mmap_ = function.index;
        if (symbol == "mremap") mremap_ = function.index;
        if (listed.allocates) {
            const auto kind = kind_of(symbol);
            if (!kind) continue;  // by system call
            function.kind = *kind;
        } else if (domain == kMmapDomain) {
            continue;
        }
        function.is_operator = symbol.starts_with("_Zn") || symbol.starts_with("_Zd");
        function.aligned = function.is_operator && symbol.find("align_val_t") != symbol.npos;
        function.may_throw = listed.allocates && function.is_operator;
        if (domain == kOpencvDomain && listed.allocates) function.kind = UF_CALL_ASK;
        if (domain == kOpencvDomain && !listed.allocates) continue;  // the free that it calls is probed
        by_symbol_[symbol] = function;
        if (domain == kMallocDomain && !function.is_operator) {
            for (const char* prefix : kPrefixes) by_symbol_[prefix + symbol] = function;
        }
    }
    for (const Alias& alias : kAliases) {
        Function function = by_symbol_.at(alias.means);
        function.kind = alias.kind;
        by_symbol_[alias.symbol] = function;
    }
    for (const char* symbol : {
#define UF_MAKES_MAT(identifier, symbol) #symbol,
#include "preload/contract/mats.def"
#undef UF_MAKES_MAT
         }) {
        Function makes;
        makes.index = add_name(symbol, kOpencvDomain);
        makes.kind = std::string_view(symbol).starts_with("_Z") ? UF_CALL_SHAPE : UF_CALL_SHAPE_OF;
        by_symbol_[symbol] = makes;
    }
    add_name("sbrk", kMmapDomain);
    brk_ = add_name("brk", kMmapDomain);
    Function inner;
    inner.is_inner = true;
    for (const char* symbol : {"__libc_setup_tls", "__libc_malloc_impl"}) by_symbol_[symbol] = inner;
    Function unwinds;
    unwinds.kind = UF_CALL_UNWIND;
    for (const char* symbol :
         {"_Unwind_RaiseException", "_Unwind_Resume_or_Rethrow", "_Unwind_ForcedUnwind"}) {
        by_symbol_[symbol] = unwinds;
    }
    for (const auto& [allocate, free] : pairs) {
        const auto domain = static_cast<std::uint32_t>(domains_.size());
        domains_.push_back(allocate + ":" + free);
        Function pair;
        pair.index = add_name(allocate, domain);
        pair.kind = UF_CALL_SIZE;
        pair.wraps = pair.may_throw = true;
        by_symbol_[allocate] = pair;
        Function releases;
        releases.index = add_name(free, domain);
        by_symbol_[free] = releases;
    }
}

std::uint32_t Functions::add_name(const std::string& symbol, std::uint32_t domain) {
    names_.push_back(readable(symbol));
    domain_of_.push_back(domain);
    index_of_.emplace(symbol, static_cast<std::uint32_t>(names_.size() - 1));
    return static_cast<std::uint32_t>(names_.size() - 1);
}

std::optional<std::uint32_t> Functions::index_of(std::string_view symbol) const {
    const auto found = index_of_.find(std::string(symbol));
    return found == index_of_.end() ? std::nullopt : std::optional(found->second);
}

const Function* Functions::find(std::string_view symbol) const {
    const auto found = by_symbol_.find(std::string(symbol));
    return found == by_symbol_.end() ? nullptr : &found->second;
}

}  // namespace unfreed::ebpf
