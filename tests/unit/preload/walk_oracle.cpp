#include "tests/unit/preload/walk_oracle.h"

#include <dlfcn.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <iterator>
#include <optional>
#include <sstream>

#include "preload/rule.h"

namespace unfreed::preload {
namespace {

constexpr unsigned kCompared[] = {kRbx, kRbpRegister, kRspRegister, 12, 13, 14, 15, kReturnAddress};
constexpr unw_regnum_t kLibunwindNames[] = {UNW_X86_64_RBX, UNW_X86_64_RBP, UNW_X86_64_RSP, UNW_X86_64_R12,
                                            UNW_X86_64_R13, UNW_X86_64_R14, UNW_X86_64_R15, UNW_X86_64_RIP};

std::optional<CodeObject> object_at(uint64_t pc) {
    dl_find_object found;
    if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) return {};
    return CodeObject{static_cast<const uint8_t*>(found.dlfo_eh_frame),
                      reinterpret_cast<uint64_t>(found.dlfo_map_start),
                      reinterpret_cast<uint64_t>(found.dlfo_map_end)};
}

// Every stack of these tests is whole and mapped.
bool anything_above_null(void*, uint64_t address) {
    return address >= 4096;
}

const StackMemory kMemory{0, 0, anything_above_null, nullptr, nullptr};

Registers from_context(const unw_context_t& context) {
    Registers registers{};
    const greg_t* saved = context.uc_mcontext.gregs;
    const greg_t values[] = {saved[REG_RBX], saved[REG_RBP], saved[REG_RSP], saved[REG_R12],
                             saved[REG_R13], saved[REG_R14], saved[REG_R15], saved[REG_RIP]};
    for (size_t i = 0; i < std::size(kCompared); ++i) {
        registers.r[kCompared[i]] = static_cast<uint64_t>(values[i]);
        registers.known |= 1u << kCompared[i];
    }
    registers.live = registers.known;
    return registers;
}

__attribute__((no_sanitize("address", "thread"))) uint64_t word_at(uint64_t address) {
    return *reinterpret_cast<const uint64_t*>(address);
}

uint64_t value_of(const Registers& registers, unsigned number) {
    const bool in_memory = number != kRspRegister && number != kReturnAddress && registers.location[number];
    return in_memory ? word_at(registers.location[number]) : registers.r[number];
}

std::string differs_from_libunwind(const Registers& registers, unw_cursor_t* cursor) {
    std::ostringstream out;
    for (size_t i = 0; i < std::size(kCompared); ++i) {
        const unsigned number = kCompared[i];
        unw_word_t expected = 0;
        if (unw_get_reg(cursor, kLibunwindNames[i], &expected) != 0) continue;
        if (!(registers.known & (1u << number))) {
            out << " register " << number << " unknown";
        } else if (value_of(registers, number) != expected) {
            out << " register " << number << std::hex << " 0x" << value_of(registers, number) << " not 0x"
                << expected << std::dec;
        }
    }
    return out.str();
}

// What the rule of `frame` says of its caller, against what full_step() found.
std::string differs_from_rule(const Rule& rule, const Registers& frame, const Registers& caller, Step step) {
    if (rule.cfa == kCfaOutermost) return step == Step::kOutermost ? "" : " rule says outermost";
    if (rule.cfa == kCfaNoCfi) return step == Step::kNoCfi ? "" : " no rule";
    if (step == Step::kOutermost && caller.r[kReturnAddress] == frame.r[kReturnAddress]) return "";
    const uint64_t base = value_of(frame, rule.cfa == kCfaSp ? kRspRegister : kRbpRegister);
    uint64_t cfa = base + static_cast<uint64_t>(int64_t{rule.cfa_offset});
    if (rule.cfa == kCfaDerefRbp) cfa = word_at(cfa);
    std::string out;
    if (cfa != caller.r[kRspRegister]) out += " rule's CFA";
    if (word_at(cfa - 8) != caller.r[kReturnAddress]) out += " rule's return address";
    uint64_t location = frame.location[kRbpRegister];
    if (rule.rbp == kRbpAtCfa) location = cfa + static_cast<uint64_t>(int64_t{rule.rbp_offset});
    if (rule.rbp == kRbpAtRbp)
        location = value_of(frame, kRbpRegister) + static_cast<uint64_t>(int64_t{rule.rbp_offset});
    if (location != caller.location[kRbpRegister]) out += " rule's rbp";
    return out;
}

}

__attribute__((noinline)) WalkComparison compare_walks() {
    constexpr size_t kDeepest = 100000;
    unw_context_t context;
    unw_getcontext(&context);
    unw_cursor_t cursor;
    unw_init_local(&cursor, &context);
    Registers frame = from_context(context);
    WalkComparison comparison;
    const auto note = [&](const std::string& difference) {
        if (difference.empty()) return;
        std::ostringstream out;
        out << "frame " << comparison.pcs.size() << std::hex << " pc 0x" << frame.r[kReturnAddress]
            << difference;
        comparison.differences.push_back(out.str());
    };
    while (comparison.pcs.size() < kDeepest && comparison.differences.empty()) {
        const uint64_t lookup_pc = frame.r[kReturnAddress] - (frame.exact ? 0 : 1);
        const auto object = object_at(lookup_pc);
        const Rule rule = make_rule(object ? &*object : nullptr, lookup_pc);
        const Registers callee = frame;
        comparison.end = full_step(frame, object ? &*object : nullptr, kMemory);
        if (rule.cfa != kCfaFull) {
            ++comparison.by_rule;
            note(differs_from_rule(rule, callee, frame, comparison.end));
        }
        const int by_libunwind = unw_step(&cursor);
        if (comparison.end != Step::kStepped) {
            if (by_libunwind > 0) note(" ends, libunwind does not");
            break;
        }
        if (by_libunwind <= 0) {
            note(" goes on, libunwind does not");
            break;
        }
        comparison.signal_frames += frame.exact;
        note(differs_from_libunwind(frame, &cursor));
        comparison.pcs.push_back(frame.r[kReturnAddress]);
    }
    return comparison;
}

__attribute__((noinline)) std::vector<uint64_t> walk_with_frame_pointers() {
    unw_context_t context;
    unw_getcontext(&context);
    Registers frame = from_context(context);
    std::vector<uint64_t> pcs;
    for (Step step = Step::kStepped; step == Step::kStepped; pcs.push_back(frame.r[kReturnAddress])) {
        const auto object = object_at(frame.r[kReturnAddress] - 1);
        step = full_step(frame, object ? &*object : nullptr, kMemory);
        if (step == Step::kNoCfi && frame_pointer_step(frame, kMemory)) step = Step::kStepped;
    }
    return pcs;
}

}
