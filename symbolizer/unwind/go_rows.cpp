#include "symbolizer/unwind/go_rows.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "symbolizer/go/go_symbols.h"

namespace unfreed::unwind {
namespace {

using symbolizer::go::Bytes;
using symbolizer::go::FileImage;
using symbolizer::go::GoSymbols;
using symbolizer::go::LineTable;

constexpr uf_rule kByFramePointer{0, 0, UF_CFA_NO_ROW};
constexpr uf_rule kOutermost{0, 0, UF_CFA_END};
constexpr uf_rule kGoroutinesEnd{-1, 0,
                                 UF_CFA_END};  // until it is known where goroutines have their creation
constexpr uf_rule kUnsupported{0, 0, UF_CFA_UNSUPPORTED};

// Where a stack begins: nobody called these, or, of the runtime's own work on a thread's stack, no goroutine
// did.
constexpr std::array<std::string_view, 6> kStarts{"runtime.goexit", "runtime.mstart",    "runtime.rt0_go",
                                                  "runtime.mcall",  "runtime.morestack", "runtime.sigtramp"};
constexpr std::array<std::string_view, 2> kSwitches{"runtime.cgocallback", "runtime.systemstack"};

template <typename Names>
bool is_one_of(std::string_view name, const Names& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

uf_rule rule_of_size(std::int32_t bytes) {
    const std::int32_t cfa = bytes / 8 + 1;
    if (bytes < 0 || bytes % 8 != 0 || cfa > INT16_MAX) return kUnsupported;
    if (bytes == 0) return {1, 0, UF_CFA_RSP};
    return {static_cast<std::int16_t>(cfa), -2, UF_CFA_RSP | UF_RBP_AT_CFA << 4};
}

// Reads instructions of the one form OPCODE OFFSET(%rsp),REGISTER.
class Code {
  public:
    explicit Code(Bytes code) : rest_(code) {}

    bool take(std::initializer_list<std::uint8_t> bytes) {
        if (rest_.size() < bytes.size() || !std::equal(bytes.begin(), bytes.end(), rest_.begin()))
            return false;
        rest_ = rest_.subspan(bytes.size());
        return true;
    }
    // In 8-byte units; nothing: another instruction.
    std::optional<std::uint8_t> take_from_stack(std::uint8_t opcode, std::uint8_t with_offset,
                                                std::uint8_t without) {
        if (take({0x48, opcode, without, 0x24})) return 0;
        return take({0x48, opcode, with_offset, 0x24}) ? offset() : std::nullopt;
    }
    std::optional<std::uint8_t> offset() {
        if (rest_.empty() || rest_[0] >= 0x80 || rest_[0] % 8 != 0) return std::nullopt;
        const std::uint8_t bytes = rest_[0];
        rest_ = rest_.subspan(1);
        return bytes / 8;
    }
    void skip(std::size_t bytes) { rest_ = rest_.subspan(std::min(bytes, rest_.size())); }

  private:
    Bytes rest_;
};

// What asmcgocall does when C has returned: with a goroutine's stack to go back to
//   mov GOROUTINE(%rsp),%rdi ; mov STACK_END(%rdi),%rsi ; sub DEPTH(%rsp),%rsi
// (in position-independent code after mov $n,%rcx or mov n(%rip),%rcx), or, when it had been on the thread's
// stack already,
//   mov SP(%rsp),%rsi ; mov %rsi,%rsp
std::optional<uf_rule> rule_of_return(Bytes bytes) {
    Code code(bytes);
    if (const auto sp = code.take_from_stack(0x8b, 0x74, 0x34)) {
        if (!code.take({0x48, 0x89, 0xf4})) return std::nullopt;
        return uf_rule{*sp, 0, UF_CFA_RSP_DEREF8};
    }
    if (code.take({0x48, 0xc7, 0xc1}) || code.take({0x48, 0x8b, 0x0d})) code.skip(4);
    const auto goroutine = code.take_from_stack(0x8b, 0x7c, 0x3c);
    if (!goroutine || !code.take({0x48, 0x8b, 0x77})) return std::nullopt;
    const auto stack_end = code.offset();
    const auto depth = code.take_from_stack(0x2b, 0x74, 0x34);
    if (!stack_end || !depth) return std::nullopt;
    return uf_rule{UF_GO_CALL_CFA(*depth, *stack_end), static_cast<std::int8_t>(*goroutine), UF_CFA_GO_CALL};
}

void add_row(std::uint64_t pc, uf_rule rule, GoRows& go) {
    const auto offset = static_cast<std::uint32_t>(pc - go.code.begin);
    const auto same = [](uf_rule a, uf_rule b) {
        return a.cfa == b.cfa && a.rbp == b.rbp && a.kind == b.kind;
    };
    if (!go.rows.empty() && go.rows.back().pc == offset) go.rows.pop_back();
    if (go.rows.empty() || !same(go.rows.back().rule, rule)) go.rows.push_back({offset, rule});
}

// A call's row is looked up at the byte before the address that it returns to.
void add_asmcgocall(Bytes code, std::uint64_t begin, std::uint64_t end, GoRows& go) {
    add_row(begin, kByFramePointer, go);
    for (std::uint64_t at = 2; begin + at < end && at < code.size(); ++at) {
        const bool after_call =
            (code[at - 2] == 0xff && code[at - 1] == 0xd0) || (at >= 5 && code[at - 5] == 0xe8);
        const auto rule = after_call ? rule_of_return(code.subspan(at)) : std::nullopt;
        if (!rule) continue;
        add_row(begin + at - 1, *rule, go);
        add_row(begin + at, kByFramePointer, go);
    }
}

// Offset of gopc in a goroutine's record: of the only three neighbours that newproc1's code stores to in
// their order by mov REGISTER,OFFSET(REGISTER). 0: not so.
std::int16_t creation_offset(Bytes code) {
    std::vector<std::uint32_t> stores;
    for (std::size_t at = 0; at + 7 <= code.size(); ++at) {
        const bool is_store = (code[at] & 0xfa) == 0x48 && code[at + 1] == 0x89 &&
                              (code[at + 2] & 0xc0) == 0x80 && (code[at + 2] & 7) != 4;
        const auto offset = is_store ? symbolizer::go::number_at<std::uint32_t>(code, at + 3) : std::nullopt;
        if (offset && *offset < 0x1000 && *offset % 8 == 0) stores.push_back(*offset);
    }
    std::uint32_t found = 0;
    for (auto first = stores.begin(); first != stores.end(); ++first) {
        const auto second = std::find(first, stores.end(), *first + 8);
        if (std::find(second, stores.end(), *first + 16) == stores.end() || *first == found) continue;
        if (found != 0) return 0;
        found = *first;
    }
    return static_cast<std::int16_t>(found / 8);
}

}  // namespace

std::optional<GoRows> go_rows(Elf* elf) {
    const auto symbols = GoSymbols::open(elf);
    if (!symbols) return std::nullopt;
    const LineTable& table = symbols->table();
    const FileImage image(elf);
    const auto first = table.entry(0), last = table.entry(table.function_count());
    if (!first || !last || *last <= *first || *last - *first > UINT32_MAX) return std::nullopt;
    GoRows go;
    go.code = {*first, *last};
    std::int16_t creation = 0;
    std::uint64_t begin = *first;
    for (std::uint64_t i = 0; i < table.function_count(); ++i) {
        const auto function = table.function(i);
        const auto end = table.entry(i + 1);
        if (!function || !end || function->entry != begin || *end < begin || *end > go.code.end)
            return std::nullopt;
        const std::string_view name = table.name(function->name);
        ++go.functions;
        if (name == "runtime.rt0_go" || name == "runtime.newproc") go.start.first.push_back({begin, *end});
        if (name == "runtime.newproc") go.start.newproc.push_back(begin);
        if (name == "runtime.newproc1") {
            const Bytes code = image.from(begin);
            creation = creation_offset(code.first(std::min<std::size_t>(code.size(), *end - begin)));
        }
        if (is_one_of(name, kStarts)) {
            add_row(begin, name == "runtime.goexit" ? kGoroutinesEnd : kOutermost, go);
        } else if (name == "runtime.asmcgocall") {
            add_asmcgocall(image.from(begin), begin, *end, go);
        } else if (is_one_of(name, kSwitches) || function->sets_sp) {
            add_row(begin, kByFramePointer, go);
        } else {
            add_row(begin, kByFramePointer, go);
            for (const LineTable::Run& run : table.frame_sizes(*function, *end))
                add_row(run.begin, rule_of_size(run.value), go);
        }
        begin = *end;
    }
    go.start.creation_known = creation != 0;
    for (uf_row& row : go.rows) {
        if (row.rule.kind == UF_CFA_END && row.rule.cfa == kGoroutinesEnd.cfa) row.rule.cfa = creation;
    }
    return go;
}

void put_in_place(const GoRows& go, UnwindTable& table) {
    if (go.code.begin < table.base || go.code.end - table.base > UINT32_MAX) return;
    const uf_rule after = rule_at(table, go.code.end);
    const auto begin = static_cast<std::uint32_t>(go.code.begin - table.base);
    const auto end = static_cast<std::uint32_t>(go.code.end - table.base);
    std::vector<uf_row> rows;
    rows.reserve(table.rows.size() + go.rows.size() + 1);
    const auto below = [](const uf_row& row, std::uint32_t pc) { return row.pc < pc; };
    const auto first = std::lower_bound(table.rows.begin(), table.rows.end(), begin, below);
    const auto rest = std::lower_bound(first, table.rows.end(), end, below);
    rows.insert(rows.end(), table.rows.begin(), first);
    for (const uf_row& row : go.rows) rows.push_back({row.pc + begin, row.rule});
    if (rest == table.rows.end() || rest->pc != end) rows.push_back({end, after});
    rows.insert(rows.end(), rest, table.rows.end());
    table.rows = std::move(rows);
    table.functions += go.functions;
    table.go = go.start;
}

}  // namespace unfreed::unwind
