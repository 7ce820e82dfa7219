#include "preload/cfi.h"

#include <limits>

#include "preload/dwarf_reader.h"

namespace unfreed::preload {
namespace {

// DW_EH_PE_*: how a pointer is written. Low four bits: the format; the next three: what it is relative to.
constexpr uint8_t kEncodingOmit = 0xff;
constexpr uint8_t kEncodingIndirect = 0x80;
constexpr uint8_t kEncodingPcrel = 0x10;
constexpr uint8_t kEncodingDatarel = 0x30;
constexpr uint8_t kEncodingAligned = 0x50;
constexpr uint8_t kEncodingSearchTable =
    0x3b;  // datarel, sdata4: what every linker writes, and what we search

// Rows that DW_CFA_remember_state may keep at a time; compilers keep one.
constexpr int kRememberedRows = 4;

uint64_t address_of(const uint8_t* p) {
    return reinterpret_cast<uint64_t>(p);
}

// A cursor from `address` to the end of the object's mapping.
DwarfReader reader_at(uint64_t address, const CodeObject& object) {
    const auto* p = reinterpret_cast<const uint8_t*>(address);
    const auto* end = reinterpret_cast<const uint8_t*>(object.map_end);
    return {p, end, address >= object.map_start && address < object.map_end};
}

// A pointer as it is written, without what it is relative to.
uint64_t raw_pointer(DwarfReader& in, uint8_t encoding) {
    switch (encoding & 0x0f) {
        case 0x00:
        case 0x04:
        case 0x0c:
            return in.fixed<uint64_t>();
        case 0x01:
            return in.uleb();
        case 0x02:
            return in.fixed<uint16_t>();
        case 0x03:
            return in.fixed<uint32_t>();
        case 0x09:
            return static_cast<uint64_t>(in.sleb());
        case 0x0a:
            return static_cast<uint64_t>(int64_t{in.fixed<int16_t>()});
        case 0x0b:
            return static_cast<uint64_t>(int64_t{in.fixed<int32_t>()});
        default:
            in.ok = false;
            return 0;
    }
}

uint64_t pointer(DwarfReader& in, uint8_t encoding, const CodeObject& object) {
    if (encoding == kEncodingAligned) {
        in.take(-address_of(in.p) & 7);
        return in.fixed<uint64_t>();
    }
    const uint64_t here = address_of(in.p);
    uint64_t value = raw_pointer(in, encoding);
    if (value == 0) return 0;
    switch (encoding & 0x70) {
        case 0x00:
            break;
        case kEncodingPcrel:
            value += here;
            break;
        case kEncodingDatarel:
            value += address_of(object.eh_frame_hdr);
            break;
        default:
            in.ok = false;
            return 0;
    }
    if (!(encoding & kEncodingIndirect)) return value;
    DwarfReader slot = reader_at(value, object);
    value = slot.fixed<uint64_t>();
    in.ok = in.ok && slot.ok;
    return value;
}

struct Cie {
    uint64_t code_align = 0;
    int64_t data_align = 0;
    uint8_t fde_encoding = 0;
    bool has_augmentation_data = false;
    bool signal_frame = false;
    DwarfReader program{};
};

// Cuts one entry out: its bytes after the length field. A zero length ends .eh_frame: not ok.
DwarfReader read_entry(uint64_t address, const CodeObject& object) {
    DwarfReader section = reader_at(address, object);
    uint64_t length = section.fixed<uint32_t>();
    if (length == 0xffffffff) length = section.fixed<uint64_t>();
    const uint8_t* begin = section.take(length);
    if (!begin || length < 4) return {nullptr, nullptr, false};
    return {begin, begin + length};
}

bool parse_cie(uint64_t address, const CodeObject& object, Cie* cie) {
    DwarfReader entry = read_entry(address, object);
    if (entry.fixed<uint32_t>() != 0) return false;
    const uint8_t version = entry.fixed<uint8_t>();
    if (version != 1 && version != 3 && version != 4) return false;
    const uint8_t* augmentation = entry.p;
    while (entry.fixed<uint8_t>() != 0) {
    }
    if (!entry.ok) return false;
    if (augmentation[0] == 'e' && augmentation[1] == 'h') {
        entry.take(8);  // g++ 2's exception table
        augmentation += 2;
    }
    if (version == 4) {
        const uint8_t address_size = entry.fixed<uint8_t>();
        const uint8_t segment_size = entry.fixed<uint8_t>();
        if (address_size != 8 || segment_size != 0) return false;
    }
    cie->code_align = entry.uleb();
    cie->data_align = entry.sleb();
    if ((version == 1 ? entry.fixed<uint8_t>() : entry.uleb()) != kReturnAddress) return false;
    if (*augmentation == 'z') {
        cie->has_augmentation_data = true;
        const uint64_t length = entry.uleb();
        const uint8_t* begin = entry.take(length);
        if (!begin) return false;
        DwarfReader data{begin, begin + length};
        for (++augmentation; *augmentation; ++augmentation) {
            switch (*augmentation) {
                case 'R':
                    cie->fde_encoding = data.fixed<uint8_t>();
                    break;
                case 'P':
                    if (const uint8_t encoding = data.fixed<uint8_t>(); encoding == kEncodingAligned) {
                        pointer(data, encoding, object);
                    } else if (encoding != kEncodingOmit) {
                        raw_pointer(data, encoding);
                    }
                    break;
                case 'L':
                    data.fixed<uint8_t>();
                    break;
                case 'S':
                    cie->signal_frame = true;
                    break;
                case 'B':
                    break;
                default:
                    return false;
            }
        }
        if (!data.ok) return false;
    } else if (*augmentation) {
        return false;
    }
    cie->program = entry;
    return entry.ok;
}

// What an entry at `address` says, when it is an FDE that covers pc.
enum class Covers { kNo, kYes, kBroken };

struct Fde {
    Cie cie;
    uint64_t pc_begin = 0;
    DwarfReader program{};
};

Covers parse_fde(uint64_t address, const CodeObject& object, uint64_t pc, Fde* fde) {
    DwarfReader entry = read_entry(address, object);
    const uint64_t cie_field = address_of(entry.p);
    const uint32_t cie_distance = entry.fixed<uint32_t>();
    if (!entry.ok) return Covers::kBroken;
    if (cie_distance == 0) return Covers::kNo;  // a CIE
    fde->cie = Cie{};
    if (!parse_cie(cie_field - cie_distance, object, &fde->cie)) return Covers::kBroken;
    fde->pc_begin = pointer(entry, fde->cie.fde_encoding, object);
    const uint64_t pc_range = raw_pointer(entry, fde->cie.fde_encoding);
    if (fde->cie.has_augmentation_data) entry.take(entry.uleb());
    if (!entry.ok) return Covers::kBroken;
    fde->program = entry;
    return pc >= fde->pc_begin && pc - fde->pc_begin < pc_range ? Covers::kYes : Covers::kNo;
}

bool search_table(DwarfReader header, uint64_t entries, const CodeObject& object, uint64_t pc, Fde* fde) {
    struct Entry {
        int32_t pc, fde;
    };
    const uint64_t base = address_of(object.eh_frame_hdr);
    const int64_t wanted = static_cast<int64_t>(pc - base);
    if (entries > static_cast<uint64_t>(header.end - header.p) / sizeof(Entry)) return false;
    const auto entry_at = [&](uint64_t index) {
        Entry entry;
        __builtin_memcpy(&entry, header.p + index * sizeof(Entry), sizeof(Entry));
        return entry;
    };
    uint64_t low = 0, high = entries;  // the first entry whose pc is beyond is in [low, high]
    while (low < high) {
        const uint64_t middle = (low + high) / 2;
        if (entry_at(middle).pc <= wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) return false;
    const uint64_t address = base + static_cast<uint64_t>(int64_t{entry_at(low - 1).fde});
    return parse_fde(address, object, pc, fde) == Covers::kYes;
}

bool walk_section(uint64_t eh_frame, const CodeObject& object, uint64_t pc, Fde* fde) {
    for (uint64_t address = eh_frame;;) {
        const DwarfReader entry = read_entry(address, object);
        if (!entry.ok) return false;
        const Covers covers = parse_fde(address, object, pc, fde);
        if (covers != Covers::kNo) return covers == Covers::kYes;
        address = address_of(entry.end);
    }
}

bool find_fde(const CodeObject& object, uint64_t pc, Fde* fde) {
    if (!object.eh_frame_hdr) return false;
    DwarfReader header = reader_at(address_of(object.eh_frame_hdr), object);
    const uint8_t version = header.fixed<uint8_t>();
    const uint8_t eh_frame_encoding = header.fixed<uint8_t>();
    const uint8_t count_encoding = header.fixed<uint8_t>();
    const uint8_t table_encoding = header.fixed<uint8_t>();
    if (!header.ok || version != 1 || eh_frame_encoding == kEncodingOmit) return false;
    const uint64_t eh_frame = pointer(header, eh_frame_encoding, object);
    if (!header.ok) return false;
    if (count_encoding == kEncodingOmit || table_encoding != kEncodingSearchTable) {
        return walk_section(eh_frame, object, pc, fde);
    }
    const uint64_t entries = pointer(header, count_encoding, object);
    return header.ok && search_table(header, entries, object, pc, fde);
}

// Runs a CIE's or an FDE's instructions until the row that holds at pc is complete.
class Program {
  public:
    Program(const CodeObject& object, const Cie& cie, CfiRow* row) : object_(object), cie_(cie), row_(row) {}

    // `initial` is what DW_CFA_restore goes back to.
    bool run(DwarfReader program, uint64_t location, uint64_t pc, const CfiRow& initial) {
        in_ = program;
        CfiRow remembered[kRememberedRows];
        int depth = 0;
        while (!in_.at_end()) {
            const uint8_t op = in_.fixed<uint8_t>();
            const uint8_t operand = op & 0x3f;
            switch (op) {
                case 0x40 ... 0x7f:  // DW_CFA_advance_loc
                    location += operand * cie_.code_align;
                    break;
                case 0x80 ... 0xbf:  // DW_CFA_offset
                    set(operand, RegisterRule::kOffset, factored_unsigned());
                    break;
                case 0xc0 ... 0xff:  // DW_CFA_restore
                    restore(operand, initial);
                    break;
                case 0x00:  // DW_CFA_nop
                    break;
                case 0x01:  // DW_CFA_set_loc
                    location = pointer(in_, cie_.fde_encoding, object_);
                    break;
                case 0x02:  // DW_CFA_advance_loc1
                    location += in_.fixed<uint8_t>() * cie_.code_align;
                    break;
                case 0x03:  // DW_CFA_advance_loc2
                    location += in_.fixed<uint16_t>() * cie_.code_align;
                    break;
                case 0x04:  // DW_CFA_advance_loc4
                    location += in_.fixed<uint32_t>() * cie_.code_align;
                    break;
                case 0x1d:  // DW_CFA_MIPS_advance_loc8
                    location += in_.fixed<uint64_t>() * cie_.code_align;
                    break;
                case 0x06:  // DW_CFA_restore_extended
                    restore(in_.uleb(), initial);
                    break;
                case 0x0a:  // DW_CFA_remember_state
                    if (depth == kRememberedRows) return false;
                    remembered[depth++] = *row_;
                    break;
                case 0x0b:  // DW_CFA_restore_state: the CFA too, as every unwinder does
                    if (depth == 0) return false;
                    *row_ = remembered[--depth];
                    break;
                case 0x0c ... 0x0f:
                case 0x12:
                case 0x13:
                    define_cfa(op);
                    break;
                case 0x2e:  // DW_CFA_GNU_args_size
                    in_.uleb();
                    break;
                default:
                    set_extended(op);
            }
            if (!in_.ok) return false;
            if (location > pc) return true;
        }
        return in_.ok;
    }

  private:
    // An offset as a row keeps it; one that does not fit stops the program.
    int32_t narrow(int64_t value) {
        if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max()) {
            in_.ok = false;
            return 0;
        }
        return static_cast<int32_t>(value);
    }

    int32_t factored(int64_t value) {
        int64_t product = 0;
        if (__builtin_mul_overflow(value, cie_.data_align, &product)) in_.ok = false;
        return narrow(product);
    }

    int32_t plain_unsigned() { return narrow(static_cast<int64_t>(in_.uleb())); }
    int32_t factored_unsigned() { return factored(static_cast<int64_t>(in_.uleb())); }
    int32_t factored_signed() { return factored(in_.sleb()); }

    // An expression's block: where it begins (at its length), relative to .eh_frame_hdr.
    int32_t block() {
        const uint64_t begin = address_of(in_.p);
        in_.take(in_.uleb());
        return narrow(static_cast<int64_t>(begin - address_of(object_.eh_frame_hdr)));
    }

    // Vector registers have rules too, in functions of other ABIs: no walk needs them.
    void set(uint64_t number, RegisterRule rule, int32_t value) {
        if (number >= kDwarfRegisters) return;
        row_->rule[number] = rule;
        row_->value[number] = value;
    }

    void restore(uint64_t number, const CfiRow& initial) {
        if (number < kDwarfRegisters) set(number, initial.rule[number], initial.value[number]);
    }

    void set_cfa_register(uint64_t number) {
        if (number >= kReturnAddress) in_.ok = false;
        row_->cfa_register = static_cast<uint8_t>(number);
    }

    void define_cfa(uint8_t op) {
        if (op == 0x0f) {  // DW_CFA_def_cfa_expression
            row_->cfa_is_expression = true;
            row_->cfa_value = block();
            return;
        }
        const bool whole = op == 0x0c || op == 0x12;
        if (whole) {  // DW_CFA_def_cfa, DW_CFA_def_cfa_sf
            row_->cfa_is_expression = false;
        } else if (row_->cfa_is_expression) {
            in_.ok = false;  // half a definition on top of an expression
        }
        if (whole || op == 0x0d) set_cfa_register(in_.uleb());              // DW_CFA_def_cfa_register
        if (op == 0x0c || op == 0x0e) row_->cfa_value = plain_unsigned();   // DW_CFA_def_cfa_offset
        if (op == 0x12 || op == 0x13) row_->cfa_value = factored_signed();  // DW_CFA_def_cfa_offset_sf
    }

    void set_extended(uint8_t op) {
        const uint64_t number = in_.uleb();
        switch (op) {
            case 0x05:  // DW_CFA_offset_extended
                return set(number, RegisterRule::kOffset, factored_unsigned());
            case 0x07:  // DW_CFA_undefined
                return set(number, RegisterRule::kUndefined, 0);
            case 0x08:  // DW_CFA_same_value
                return set(number, RegisterRule::kSame, 0);
            case 0x09:  // DW_CFA_register
                return set(number, RegisterRule::kRegister, plain_unsigned());
            case 0x10:  // DW_CFA_expression
                return set(number, RegisterRule::kExpression, block());
            case 0x11:  // DW_CFA_offset_extended_sf
                return set(number, RegisterRule::kOffset, factored_signed());
            case 0x14:  // DW_CFA_val_offset
                return set(number, RegisterRule::kValOffset, factored_unsigned());
            case 0x15:  // DW_CFA_val_offset_sf
                return set(number, RegisterRule::kValOffset, factored_signed());
            case 0x16:  // DW_CFA_val_expression
                return set(number, RegisterRule::kValExpression, block());
            case 0x2f:  // DW_CFA_GNU_negative_offset_extended
                return set(number, RegisterRule::kOffset, factored(-static_cast<int64_t>(in_.uleb())));
            default:
                in_.ok = false;
        }
    }

    const CodeObject& object_;
    const Cie& cie_;
    CfiRow* row_;
    DwarfReader in_{};
};

}

bool find_cfi_row(const CodeObject& object, uint64_t pc, CfiRow* row) {
    Fde fde;
    if (!find_fde(object, pc, &fde)) return false;
    constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
    *row = CfiRow{};
    row->cfa_register = kRspRegister;
    row->signal_frame = fde.cie.signal_frame;
    Program program{object, fde.cie, row};
    if (!program.run(fde.cie.program, 0, kNever, *row)) return false;
    const CfiRow initial = *row;
    return program.run(fde.program, fde.pc_begin, pc, initial);
}

bool is_made_up_return_address(const CodeObject& object, uint64_t pc) {
    Fde before, at;
    return !find_fde(object, pc - 1, &before) && find_fde(object, pc, &at) && at.pc_begin == pc;
}

Expression row_expression(const CodeObject& object, int32_t value) {
    DwarfReader block =
        reader_at(address_of(object.eh_frame_hdr) + static_cast<uint64_t>(int64_t{value}), object);
    const uint64_t length = block.uleb();
    const uint8_t* begin = block.take(length);
    return begin ? Expression{begin, begin + length} : Expression{nullptr, nullptr};
}

}
