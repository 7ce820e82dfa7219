#include "preload/go_table.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>

#include "preload/modules.h"

namespace unfreed::preload {
namespace {

struct GoTable {
    uint64_t map_start, map_end;  // of the module
    uint64_t header, end;         // [header, end): the table and what follows it in its segment; 0: none
    uint64_t functions;           // the array of (entry, record), and what records count from
    uint64_t records;
    uint64_t names, values;  // what offsets of names and of value tables count from
    uint64_t count, text;
    uint32_t quantum;
    uint32_t flags;  // where a record's flags are, from its field "name"; 0: it has none
    bool wide;       // before Go 1.18: entries are pointers, and offsets have their size
};

constexpr uint8_t kSetsSp = 2;  // funcFlag_SPWRITE

constexpr uint32_t kNoTable = 0, kBeingFilled = 1, kFilled = 2;
constexpr int kTables = 8;  // Go modules of one process; more are looked for each time
struct Known {
    uint32_t state;
    GoTable table;
} known[kTables];

template <typename T>
bool read(const GoTable& table, uint64_t at, T* value) {
    if (at < table.header || at >= table.end || table.end - at < sizeof *value) return false;
    __builtin_memcpy(value, reinterpret_cast<const void*>(at), sizeof *value);
    return true;
}

// The header at table->header, and whether what it says fits into the mapping.
bool read_header(GoTable* table) {
    uint32_t magic = 0;
    uint8_t shape[4] = {};  // 0, 0, bytes per unit of code, bytes of a pointer
    if (!read(*table, table->header, &magic) || !read(*table, table->header + 4, &shape)) return false;
    if (magic < 0xfffffff0 || magic > 0xfffffffb || shape[0] != 0 || shape[1] != 0 || shape[3] != 8)
        return false;
    table->quantum = shape[2];
    uint64_t word[10] = {};
    for (int i = 0; i < 10; i++)
        if (!read(*table, table->header + 8 + 8ull * static_cast<unsigned>(i), &word[i])) return false;
    table->count = word[0];
    table->wide = true;
    uint64_t names = 0, values = 0, functions = 0;
    if (magic == 0xfffffffb) {  // Go 1.2 to 1.15
        table->functions = table->header + 16;
    } else if (magic == 0xfffffffa) {  // 1.16, 1.17
        names = word[2], values = word[5], functions = word[6];
        table->flags = 33;
    } else if (magic == 0xfffffff0 || magic == 0xfffffff1) {  // 1.18, 1.20 and later
        table->wide = false;
        table->text = word[2];  // 0 from Go 1.26 on
        names = word[3], values = word[6], functions = word[7];
        table->flags = magic == 0xfffffff0 ? 33 : 37;
    } else {
        return false;
    }
    uint64_t room = table->end - table->header;
    if (names >= room || values >= room || functions >= room) return false;
    table->names = table->header + names;
    table->values = table->header + values;
    table->records = table->header + functions;
    if (functions != 0) table->functions = table->records;
    return table->count != 0 && table->count < (table->end - table->functions) / (table->wide ? 16 : 8);
}

bool is_made_by_go(const ElfW(Phdr) * segments, int count, uint64_t bias, const GoTable& module) {
    for (int i = 0; i < count; i++) {
        if (segments[i].p_type != PT_NOTE) continue;
        uint64_t at = bias + segments[i].p_vaddr;
        uint64_t last = at + segments[i].p_memsz;
        if (at < module.map_start || last > module.map_end) continue;
        while (at + sizeof(ElfW(Nhdr)) + 4 <= last) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
            uint64_t name = at + sizeof *note;
            if (note->n_namesz == 4 && memcmp(reinterpret_cast<const void*>(name), "Go\0", 4) == 0)
                return true;
            at = name + ((uint64_t{note->n_namesz} + 3) & ~3ull) + ((uint64_t{note->n_descsz} + 3) & ~3ull);
        }
    }
    return false;
}

// Where the code starts, by the module data (symbolizer/go/module_data.h tells of it): the only words of the
// writable data that are the addresses and the count that the table has itself. False: not there.
bool find_text(const ElfW(Phdr) * segments, int count, uint64_t bias, GoTable* table) {
    constexpr uint64_t kWords = 23;  // up to the one looked for
    for (int i = 0; i < count; i++) {
        if (segments[i].p_type != PT_LOAD || (segments[i].p_flags & PF_W) == 0) continue;
        uint64_t start = (bias + segments[i].p_vaddr + 7) & ~7ull;
        uint64_t end = bias + segments[i].p_vaddr + segments[i].p_filesz;
        if (start < table->map_start || end > table->map_end) continue;
        for (; start + kWords * 8 <= end; start += 8) {
            const auto* word = reinterpret_cast<const uint64_t*>(start);
            if (word[0] != table->header || word[1] != table->names || word[10] != table->values ||
                word[13] != table->records || word[16] != table->records || word[17] != table->count + 1)
                continue;
            uint32_t first = 0;
            if (!read(*table, table->functions, &first) || word[20] != word[22] + first) continue;
            table->text = word[22];
            return true;
        }
    }
    return false;
}

// Fills `table` for the module at map_start, map_end: header 0 where it has none.
void look_for_table(uint64_t bias, GoTable* table) {
    constexpr uint64_t kAlignment = 32;  // of the table, by Go's linker
    const auto* file = reinterpret_cast<const ElfW(Ehdr)*>(table->map_start);
    if (memcmp(file->e_ident, ELFMAG, SELFMAG) != 0 || file->e_phoff > 4096 || file->e_phnum > 40) return;
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(table->map_start + file->e_phoff);
    if (!is_made_by_go(segments, file->e_phnum, bias, *table)) return;
    for (int i = 0; i < file->e_phnum; i++) {
        const ElfW(Phdr)& segment = segments[i];
        bool read_only = segment.p_type == PT_LOAD && (segment.p_flags & (PF_W | PF_X)) == 0;
        if (!read_only && segment.p_type != PT_GNU_RELRO) continue;
        uint64_t start = bias + segment.p_vaddr;
        uint64_t end = start + segment.p_filesz;
        if (start < table->map_start || end > table->map_end || end < start) continue;
        for (uint64_t at = (start + kAlignment - 1) & ~(kAlignment - 1); at + 128 <= end; at += kAlignment) {
            if (*reinterpret_cast<const uint32_t*>(at) < 0xfffffff0) continue;
            GoTable candidate = *table;
            candidate.header = at;
            candidate.end = end;
            if (!read_header(&candidate)) continue;
            if (candidate.wide || candidate.text != 0 || find_text(segments, file->e_phnum, bias, &candidate))
                *table = candidate;
            return;
        }
    }
}

// The table of the module that `pc` is in, found or remembered. False: there is none.
bool table_of(uint64_t pc, GoTable* table) {
    dl_find_object found;
    if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0 || !found.dlfo_link_map) return false;
    *table = GoTable{};
    const MappedFile file = mapped_file(found);
    table->map_start = file.start;
    table->map_end = file.end;
    Known* free_place = nullptr;
    for (Known& place : known) {
        uint32_t state = __atomic_load_n(&place.state, __ATOMIC_ACQUIRE);  // pairs with the store of kFilled
        if (state == kNoTable && !free_place) free_place = &place;
        if (state != kFilled || place.table.map_start != table->map_start ||
            place.table.map_end != table->map_end)
            continue;
        *table = place.table;
        return table->header != 0;
    }
    look_for_table(found.dlfo_link_map->l_addr, table);
    uint32_t expected = kNoTable;
    if (free_place && __atomic_compare_exchange_n(&free_place->state, &expected, kBeingFilled, false,
                                                  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        free_place->table = *table;
        __atomic_store_n(&free_place->state, kFilled, __ATOMIC_RELEASE);
    }
    return table->header != 0;
}

bool entry_of(const GoTable& table, uint64_t index, uint64_t* entry) {
    if (table.wide) return read(table, table.functions + index * 16, entry);
    uint32_t offset = 0;
    if (!read(table, table.functions + index * 8, &offset)) return false;
    *entry = table.text + offset;
    return true;
}

bool next_number(const GoTable& table, uint64_t* at, uint32_t* number) {
    *number = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = 0;
        if (!read(table, (*at)++, &byte)) return false;
        *number |= static_cast<uint32_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) return true;
    }
    return false;
}

// The value at `pc` of the run-length table at `at`, whose first run starts at `entry`.
bool value_at(const GoTable& table, uint64_t at, uint64_t entry, uint64_t pc, int32_t* value) {
    uint32_t sum = UINT32_MAX;  // -1
    for (bool first = true;; first = false) {
        uint32_t change = 0, length = 0;
        if (!next_number(table, &at, &change) || (change == 0 && !first) || !next_number(table, &at, &length))
            return false;
        sum += (change >> 1) ^ (0 - (change & 1));
        entry += uint64_t{length} * table.quantum;
        if (pc < entry) {
            *value = static_cast<int32_t>(sum);
            return true;
        }
    }
}

}

bool find_go_function(uint64_t lookup_pc, GoFunction* function) {
    GoTable table;
    uint64_t first = 0, end = 0;
    if (!table_of(lookup_pc, &table) || !entry_of(table, 0, &first) || !entry_of(table, table.count, &end) ||
        lookup_pc < first || lookup_pc >= end)
        return false;
    uint64_t low = 0, high = table.count;  // entry(low) <= lookup_pc < entry(high)
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2, entry = 0;
        if (!entry_of(table, middle, &entry)) return false;
        *(entry <= lookup_pc ? &low : &high) = middle;
    }
    uint64_t record = 0;
    uint32_t narrow = 0, name = 0, frame_sizes = 0;
    if (!entry_of(table, low, &function->entry)) return false;
    if (table.wide ? !read(table, table.functions + low * 16 + 8, &record)
                   : !read(table, table.functions + low * 8 + 4, &narrow))
        return false;
    record += table.records + narrow;
    uint64_t fields = record + (table.wide ? 8 : 4);  // name, args, deferreturn, pcsp: 32 bits each
    if (!read(table, fields, &name) || !read(table, fields + 12, &frame_sizes) || frame_sizes == 0)
        return false;
    uint8_t flags = 0;
    if (table.flags != 0 && !read(table, fields + table.flags, &flags)) return false;
    function->sets_sp = (flags & kSetsSp) != 0;
    uint64_t text = table.names + name;
    if (text >= table.end || !memchr(reinterpret_cast<const void*>(text), 0, table.end - text)) return false;
    function->name = reinterpret_cast<const char*>(text);
    return value_at(table, table.values + frame_sizes, function->entry, lookup_pc, &function->frame_bytes) &&
           function->frame_bytes >= 0;
}

}
