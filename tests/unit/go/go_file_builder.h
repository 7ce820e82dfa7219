// Makes small ELF files with a Go line table in them, in each of its layouts, from the definition of the
// format (the sources named in symbolizer/go/line_table.h). Two functions:
//
//   main.outer   first 0x40 bytes of the code, outer.go: line 10 for 0x10 bytes, then 20 for 0x10, then 12.
//   From
//                0x10 to 0x20 it holds main.inner, inlined, called at the instruction at 0x08
//   main.second  the next 0x20 bytes, second.go:33
#pragma once
#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace unfreed::testing {

class GoFileBuilder {
  public:
    enum class Layout { kGo12, kGo116, kGo118, kGo120 };
    static constexpr std::uint64_t kText = 0x401000;
    static constexpr std::uint64_t kTable = 0x500000;    // address of the line table
    static constexpr std::uint64_t kInlines = 0x600000;  // address of go:func.*
    static constexpr std::uint64_t kModule = 0x700040;   // address of the module data

    explicit GoFileBuilder(Layout layout) : layout_(layout) {}
    GoFileBuilder& relocated() { return relocated_ = true, *this; }  // as in a position-independent file
    GoFileBuilder& without_module_data() { return module_ = false, *this; }
    GoFileBuilder& as_go_126() { return go_126_ = true, *this; }
    GoFileBuilder& module_data_names_other_text() { return module_text_ = kText + 16, *this; }
    GoFileBuilder& own_section(bool own) { return own_section_ = own, *this; }

    std::string build();

  private:
    using Image = std::string;
    template <typename Number>
    static void put(Image& to, Number number) {
        to.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
    template <typename Number>
    static void put_at(Image& to, std::size_t at, Number number) {
        std::memcpy(to.data() + at, &number, sizeof number);
    }
    static void align(Image& to, std::size_t to_multiple) {
        while (to.size() % to_multiple != 0) to.push_back('\0');
    }
    // A run-length table: (value, bytes of code) pairs.
    static std::uint32_t put_runs(Image& to, const std::vector<std::pair<int, unsigned>>& runs) {
        const auto at = static_cast<std::uint32_t>(to.size());
        int before = -1;
        for (const auto& [value, length] : runs) {
            const int change = value - before;
            to.push_back(static_cast<char>(change >= 0 ? change << 1 : (-change << 1) - 1));
            to.push_back(static_cast<char>(length));
            before = value;
        }
        to.push_back('\0');
        return at;
    }
    static std::uint32_t put_string(Image& to, const char* text) {
        const auto at = static_cast<std::uint32_t>(to.size());
        to.append(text).push_back('\0');
        return at;
    }
    void put_pointer(Image& to, std::uint64_t base, std::uint64_t value) {
        if (relocated_) {
            relocations_.push_back(
                {base + to.size(), ELF64_R_INFO(0, R_X86_64_RELATIVE), static_cast<Elf64_Sxword>(value)});
            value = 0;
        }
        put(to, value);
    }
    bool wide() const { return layout_ == Layout::kGo12 || layout_ == Layout::kGo116; }

    Image table();
    Image module_data();
    Image inline_tree() const;

    struct Parts {
        std::uint64_t names = 0, units = 0, files = 0, values = 0, functions = 0;
    };
    Layout layout_;
    bool relocated_ = false, module_ = true, go_126_ = false, own_section_ = true;
    std::uint64_t module_text_ = kText;
    std::uint64_t function_data_ = kInlines, table_end_ = 0;
    std::uint32_t inner_name_ = 0;
    Parts parts_;
    std::vector<Elf64_Rela> relocations_;
};

}  // namespace unfreed::testing
