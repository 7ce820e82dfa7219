#include "symbolizer/go/line_table.h"

#include <algorithm>

namespace unfreed::symbolizer::go {
namespace {

constexpr unsigned kPointer = 8;
// Fields of a record after its entry, in order (type _func); each 32 bits.
enum Field { kName = 1, kArgs, kDeferReturn, kPcsp, kPcfile, kPcln, kNpcdata, kUnit, kStartLine };

constexpr std::uint8_t kSetsSp = 2;  // funcFlag_SPWRITE (symtab.go), in the byte after the function's id

std::optional<LineTable::Layout> layout_of(std::uint32_t magic) {
    switch (magic) {
        case 0xfffffffb:
            return LineTable::Layout::kGo12;
        case 0xfffffffa:
            return LineTable::Layout::kGo116;
        case 0xfffffff0:
            return LineTable::Layout::kGo118;
        case 0xfffffff1:
            return LineTable::Layout::kGo120;
        default:
            return std::nullopt;
    }
}

std::string_view string_at(Bytes bytes, std::uint64_t offset) {
    const Bytes rest = tail(bytes, offset);
    const auto end = std::find(rest.begin(), rest.end(), 0);
    if (end == rest.end()) return {};
    return {reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(end - rest.begin())};
}

// The next variable-length number (7 bits a byte, low first); nothing: cut off, or longer than 32 bits.
std::optional<std::uint32_t> next_number(Bytes& bytes) {
    std::uint32_t number = 0;
    for (unsigned i = 0; i < 5 && i < bytes.size(); ++i) {
        number |= static_cast<std::uint32_t>(bytes[i] & 0x7f) << (7 * i);
        if ((bytes[i] & 0x80) == 0) {
            bytes = bytes.subspan(i + 1);
            return number;
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<LineTable> LineTable::at(const FileImage& image, std::uint64_t address) {
    LineTable table;
    table.image_ = &image;
    table.address_ = address;
    table.whole_ = image.from(address);
    const auto magic = number_at<std::uint32_t>(table.whole_, 0);
    const auto shape =
        number_at<std::uint32_t>(table.whole_, 4);  // 0, 0, bytes per instruction unit, pointer
    if (!magic || !shape || !layout_of(*magic)) return std::nullopt;
    table.layout_ = *layout_of(*magic);
    table.quantum_ = (*shape >> 16) & 0xff;
    const bool sane = (*shape & 0xffff) == 0 && (*shape >> 24) == kPointer &&
                      (table.quantum_ == 1 || table.quantum_ == 2 || table.quantum_ == 4);
    if (!sane || !table.read_parts()) return std::nullopt;
    return table;
}

bool LineTable::read_parts() {
    const auto word = [&](unsigned index) { return number_at<std::uint64_t>(whole_, 8 + index * kPointer); };
    count_ = word(0).value_or(0);
    const std::uint64_t pair = wide() ? 2 * kPointer : 8;
    if (count_ == 0 || count_ > whole_.size() / pair) return false;
    if (layout_ == Layout::kGo12) {
        functions_offset_ = 8 + kPointer;
        const std::uint64_t after = functions_offset_ + count_ * pair + kPointer;
        const auto files = number_at<std::uint32_t>(whole_, after);
        if (!files) return false;
        part_offset_[kFiles] = *files;
        file_count_ = number_at<std::uint32_t>(whole_, *files).value_or(0);
        return true;
    }
    unsigned next = 2;  // after the numbers of functions and files
    if (!wide()) text_ = image_->pointer(address_ + 8 + next++ * kPointer).value_or(0);
    for (std::uint64_t& offset : part_offset_) {
        const auto found = word(next++);
        if (!found || *found >= whole_.size()) return false;
        offset = *found;
    }
    functions_offset_ = part_offset_[kFunctions];
    return (whole_.size() - functions_offset_) / pair >= count_;
}

std::optional<std::uint64_t> LineTable::entry(std::uint64_t index) const {
    if (index > count_) return std::nullopt;
    if (wide()) return image_->pointer(address_ + functions_offset_ + index * 2 * kPointer);
    const auto offset = number_at<std::uint32_t>(whole_, functions_offset_ + index * 8);
    if (!offset) return std::nullopt;
    return text_ + std::uint64_t{*offset};
}

unsigned LineTable::field(unsigned index) const {
    return (wide() ? kPointer : 4) + (index - 1) * 4;
}

std::optional<LineTable::Function> LineTable::function(std::uint64_t index) const {
    if (index >= count_) return std::nullopt;
    Function found;
    const auto start = entry(index);
    std::optional<std::uint64_t> record;
    if (wide())
        record = number_at<std::uint64_t>(whole_, functions_offset_ + index * 2 * kPointer + kPointer);
    else
        record = number_at<std::uint32_t>(whole_, functions_offset_ + index * 8 + 4);
    if (!start || !record || *record > whole_.size()) return std::nullopt;
    found.entry = *start;
    found.record = tail(whole_, part_offset_[kFunctions] + *record);
    const auto read = [&](Field which) { return number_at<std::uint32_t>(found.record, field(which)); };
    if (!read(kNpcdata)) return std::nullopt;
    found.name = *read(kName);
    found.pcsp = *read(kPcsp);
    found.pcfile = *read(kPcfile);
    found.pcln = *read(kPcln);
    found.npcdata = *read(kNpcdata);
    if (layout_ != Layout::kGo12) {
        found.unit = read(kUnit).value_or(0);
        const unsigned flags = field(layout_ == Layout::kGo120 ? kStartLine + 1 : kUnit + 1) + 1;
        found.sets_sp = (number_at<std::uint8_t>(found.record, flags).value_or(0) & kSetsSp) != 0;
    }
    if (layout_ == Layout::kGo120) found.start_line = read(kStartLine).value_or(0);
    return found;
}

std::optional<LineTable::Function> LineTable::function_at(std::uint64_t address) const {
    const auto first = entry(0);
    const auto end = entry(count_);
    if (!first || !end || address < *first || address >= *end) return std::nullopt;
    std::uint64_t low = 0, high = count_;  // entry(low) <= address < entry(high)
    while (high - low > 1) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (entry(middle).value_or(UINT64_MAX) <= address)
            low = middle;
        else
            high = middle;
    }
    return function(low);
}

std::string_view LineTable::name(std::uint32_t name_offset) const {
    return string_at(tail(whole_, part_offset_[kNames]), name_offset);
}

template <typename Each>
void LineTable::runs(const Function& function, std::uint32_t table, Each each) const {
    if (table == 0) return;
    Bytes bytes = tail(whole_, part_offset_[kValues]);
    bytes = tail(bytes, table);
    std::uint64_t pc = function.entry;
    std::uint32_t value = UINT32_MAX;  // -1; unsigned, so that a damaged table wraps
    for (bool first = true;; first = false) {
        const auto change = next_number(bytes);
        if (!change || (*change == 0 && !first)) return;
        const auto length = next_number(bytes);
        if (!length) return;
        value += (*change >> 1) ^ (0 - (*change & 1));
        const std::uint64_t begin = pc;
        pc += std::uint64_t{*length} * quantum_;
        if (!each(Run{begin, pc, static_cast<std::int32_t>(value)})) return;
    }
}

std::optional<std::int32_t> LineTable::value(const Function& function, std::uint32_t table,
                                             std::uint64_t address) const {
    std::optional<std::int32_t> found;
    runs(function, table, [&](const Run& run) {
        if (address < run.end) found = run.value;
        return !found;
    });
    return found;
}

std::vector<LineTable::Run> LineTable::frame_sizes(const Function& function, std::uint64_t end) const {
    constexpr std::size_t kMost = 1u << 16;  // more come from a damaged table
    std::vector<Run> all;
    runs(function, function.pcsp, [&](const Run& run) {
        if (run.begin < end) all.push_back({run.begin, std::min(run.end, end), run.value});
        return run.end < end && all.size() < kMost;
    });
    return all;
}

std::string_view LineTable::file(const Function& function, std::uint64_t address) const {
    const auto number = value(function, function.pcfile, address);
    if (!number || *number < 0) return {};
    const auto index = static_cast<std::uint64_t>(*number);
    const Bytes files = tail(whole_, part_offset_[kFiles]);
    if (layout_ == Layout::kGo12) {
        if (index == 0 || index >= file_count_) return {};  // slot 0 holds the count
        const auto offset = number_at<std::uint32_t>(files, index * 4);
        return offset ? string_at(whole_, *offset) : std::string_view{};
    }
    const Bytes units = tail(whole_, part_offset_[kUnits]);
    const auto offset = number_at<std::uint32_t>(units, (std::uint64_t{function.unit} + index) * 4);
    return offset && *offset != UINT32_MAX ? string_at(files, *offset) : std::string_view{};
}

std::uint32_t LineTable::line(const Function& function, std::uint64_t address) const {
    const auto number = value(function, function.pcln, address);
    return number && *number > 0 ? static_cast<std::uint32_t>(*number) : 0;
}

std::int32_t LineTable::pc_data(const Function& function, unsigned table, std::uint64_t address) const {
    if (wide() || table >= function.npcdata) return -1;
    const unsigned fixed = field(layout_ == Layout::kGo120 ? kStartLine + 2 : kUnit + 2);
    const auto offset = number_at<std::uint32_t>(function.record, fixed + std::uint64_t{table} * 4);
    return offset ? value(function, *offset, address).value_or(-1) : -1;
}

std::optional<std::uint32_t> LineTable::function_data(const Function& function, unsigned index) const {
    if (wide()) return std::nullopt;
    const unsigned fixed = field(layout_ == Layout::kGo120 ? kStartLine + 2 : kUnit + 2);
    const auto count = number_at<std::uint8_t>(function.record, fixed - 1);  // nfuncdata: the last byte
    if (!count || index >= *count) return std::nullopt;
    const auto offset =
        number_at<std::uint32_t>(function.record, fixed + (std::uint64_t{function.npcdata} + index) * 4);
    if (!offset || *offset == UINT32_MAX) return std::nullopt;
    return offset;
}

}  // namespace unfreed::symbolizer::go
