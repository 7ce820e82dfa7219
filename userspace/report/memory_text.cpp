#include "userspace/report/memory_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <ostream>

#include "userspace/report/format.h"

namespace unfreed {
namespace {

std::string amount(std::uint64_t bytes) {
    constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
    return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, kUnits[unit]);
}

constexpr std::size_t kLeastColumns = 44, kMostColumns = 76;  // of a name
constexpr std::size_t kNumberColumns = 12;

class MemoryText {
  public:
    MemoryText(const MemoryTable& table, std::ostream& out) : out_(out) {
        for (const MemoryRow& row : table.rows)
            columns_ = std::clamp(row.name.size() + 1, columns_, kMostColumns);
    }

    void line(const std::string& name, const std::string& a, const std::string& b, const std::string& c) {
        out_ << fmt::format("{:<{}}{:>{}}{:>{}}{:>{}}\n", fit_text(printable(name), columns_ - 1), columns_,
                            a, kNumberColumns, b, kNumberColumns, c, kNumberColumns);
    }

    void line(const MemoryRow& row) {
        line(row.name, amount(row.resident), amount(row.swapped), amount(row.resident + row.swapped));
    }

  private:
    std::ostream& out_;
    std::size_t columns_ = kLeastColumns;
};

}  // namespace

void write_memory(const MemoryTable& table, std::ostream& out) {
    if (!table.rows.empty()) {
        const bool shares = !table.processes.empty();
        MemoryText text(table, out);
        out << printable(table.of) << "\n\n";
        text.line("", shares ? "PSS" : "resident", "swapped", "together");
        MemoryRow sum{"sum", 0, 0, 0};
        for (const MemoryRow& row : table.rows) {
            text.line(row);
            sum.resident += row.resident;
            sum.swapped += row.swapped;
        }
        text.line(sum);
        if (table.kernel != 0) {
            const auto kernel = static_cast<double>(table.kernel);
            const double off = std::abs(static_cast<double>(sum.resident + sum.swapped) - kernel) / kernel;
            text.line("VmRSS + VmSwap, the kernel's own sum", "", "", amount(table.kernel));
            text.line("difference", "", "", fmt::format("{:.1f}%", 100 * off));
        }
        if (shares) out << "\n";
        for (const MemoryRow& process : table.processes) text.line(process);
    }
    for (const std::string& note : table.notes)
        out << (table.rows.empty() ? "" : "\n") << printable(note) << "\n";
}

}  // namespace unfreed
