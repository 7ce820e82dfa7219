// The places of a sample library (sample/sample.cpp), and naming them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "symbolizer/symbolizer.h"

struct Place {
    std::uint64_t address = 0;  // in the file: inside the call instruction
    std::uint32_t line = 0;
};

// Loads SAMPLES/`library` and runs it. Throws std::runtime_error when there is no such place.
Place sample_place(const std::string& library, const std::string& name);
std::uint64_t sample_assembly_address(const std::string& library);

// The line of sample.cpp that ends with "// MARK".
std::uint32_t line_with(const std::string& mark);

// One frame as "name file-name:line", innermost first.
struct Named {
    std::vector<std::string> frames;
    unfreed::symbolizer::Reason reason{};
};
Named name_one(const unfreed::symbolizer::ModuleInput& module, std::uint64_t address,
               const unfreed::symbolizer::Options& options = {{}});
Named name_one(const std::string& path, std::uint64_t address,
               const unfreed::symbolizer::Options& options = {{}});

inline std::string sample_path(const std::string& file) {
    return std::string(SAMPLES) + "/" + file;
}
