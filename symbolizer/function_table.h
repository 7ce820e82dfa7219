// The functions of one module, each once, demangled when first seen.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "symbolizer/symbolizer.h"

namespace unfreed::symbolizer {

class FunctionTable {
  public:
    // Index of the function; `file` is made shorter where it says the same ("/a/b/../c.h" is "/a/c.h").
    std::uint32_t intern(const std::string& system_name, const std::string& file, std::uint32_t start_line);
    std::vector<Function> take() { return std::move(functions_); }

  private:
    std::vector<Function> functions_;
    std::unordered_map<std::string, std::uint32_t> index_;
};

}  // namespace unfreed::symbolizer
