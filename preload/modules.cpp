#include "preload/modules.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <cstring>

#include "preload/system_call.h"

namespace unfreed::preload {
namespace {

// Taken with signals held, only to add a record: about once per library of the program.
uint32_t adding = 0;
constexpr int kPatience = 1 << 20;  // spins before a holder that is gone (killed thread) is taken for granted

char executable[4096];
size_t executable_bytes = 0;

constexpr uint64_t kPage = 4096;

bool is_elf_header(uint64_t address) {
    return memcmp(reinterpret_cast<const void*>(address), ELFMAG, SELFMAG) == 0;
}

// The build-id in the notes of the file mapped at `start`; 0 bytes: none.
uint32_t read_build_id(uint64_t start, uint64_t end, uint64_t bias, uint8_t* id) {
    const auto* file = reinterpret_cast<const ElfW(Ehdr)*>(start);
    if (!is_elf_header(start) || file->e_phoff > kPage) return 0;
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(start + file->e_phoff);
    for (int i = 0; i < file->e_phnum && i < 64; i++) {
        if (segments[i].p_type != PT_NOTE) continue;
        uint64_t at = bias + segments[i].p_vaddr;
        uint64_t last = at + segments[i].p_memsz;
        if (at < start || last > end) continue;
        while (at + sizeof(ElfW(Nhdr)) <= last) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
            uint64_t name = at + sizeof *note;
            uint64_t description = name + ((note->n_namesz + 3u) & ~3u);
            if (description + note->n_descsz > last) break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && note->n_descsz <= 32 &&
                memcmp(reinterpret_cast<const char*>(name), "GNU", 4) == 0) {
                memcpy(id, reinterpret_cast<const char*>(description), note->n_descsz);
                return note->n_descsz;
            }
            at = description + ((note->n_descsz + 3u) & ~3u);
        }
    }
    return 0;
}

struct Description {
    uint64_t start, end, bias;
    const char* path;
    size_t path_bytes;
    uint8_t build_id[32];
    uint32_t build_id_bytes;
};

bool is_described(Table* table, const uf_module& module, const Description& is) {
    return module.start == is.start && module.end == is.end && module.bias == is.bias &&
           module.path_bytes == is.path_bytes &&
           memcmp(table->strings() + module.path, is.path, is.path_bytes) == 0 &&
           module.build_id_bytes == is.build_id_bytes &&
           memcmp(module.build_id, is.build_id, is.build_id_bytes) == 0;
}

// Latest first: after a reload at the same place the newest record is the one that holds.
uint32_t find_record(Table* table, const Description& is) {
    for (uint32_t i = __atomic_load_n(&table->header()->module_count, __ATOMIC_ACQUIRE); i > 0; i--)
        if (is_described(table, table->modules()[i - 1], is)) return i;
    return 0;
}

uint32_t add_record(Table* table, const Description& is) {
    SignalsHeld held;
    for (int i = 0; __atomic_exchange_n(&adding, 1, __ATOMIC_ACQUIRE) != 0; i++)
        if (i == kPatience) return 0;
    uint32_t number = find_record(table, is);
    uf_header* header = table->header();
    if (number == 0 && header->module_count < UF_MODULES &&
        is.path_bytes <= UF_STRING_BYTES - header->string_bytes) {
        uf_module* module = &table->modules()[header->module_count];
        module->start = is.start;
        module->end = is.end;
        module->bias = is.bias;
        module->path = header->string_bytes;
        module->path_bytes = static_cast<uint32_t>(is.path_bytes);
        memcpy(table->strings() + module->path, is.path, is.path_bytes);
        memcpy(module->build_id, is.build_id, is.build_id_bytes);
        module->build_id_bytes = is.build_id_bytes;
        header->string_bytes += module->path_bytes;
        number = header->module_count + 1;
        __atomic_store_n(&header->module_count, number, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&adding, 0, __ATOMIC_RELEASE);
    return number;
}

}

void reset_modules(Table* table) {
    table->header()->module_count = 0;
    table->header()->string_bytes = 0;
    __atomic_store_n(&adding, 0, __ATOMIC_RELEASE);
    long got = system_call(SYS_readlink, word("/proc/self/exe"), word(executable), sizeof executable);
    if (got > 0) executable_bytes = static_cast<size_t>(got);  // else (chroot) it is still the parent's
}

MappedFile mapped_file(const dl_find_object& found) {
    const MappedFile told{reinterpret_cast<uint64_t>(found.dlfo_map_start),
                          reinterpret_cast<uint64_t>(found.dlfo_map_end)};
    if (is_elf_header(told.start)) return told;
    // The file's first bytes are at its bias; in a program of fixed addresses, in the page of its own
    // headers.
    uint64_t bias = found.dlfo_link_map->l_addr;
    uint64_t header = bias != 0 ? bias : getauxval(AT_PHDR) & ~(kPage - 1);
    if (header % kPage != 0 || !readable(header) || !is_elf_header(header)) return told;
    const auto* file = reinterpret_cast<const ElfW(Ehdr)*>(header);
    if (file->e_phoff > kPage || file->e_phnum > (kPage - file->e_phoff) / sizeof(ElfW(Phdr))) return told;
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(header + file->e_phoff);
    MappedFile whole = told;
    for (int i = 0; i < file->e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD) continue;
        uint64_t start = (bias + segments[i].p_vaddr) & ~(kPage - 1);
        uint64_t end = bias + segments[i].p_vaddr + segments[i].p_memsz;
        whole.start = start < whole.start ? start : whole.start;
        whole.end = end > whole.end ? end : whole.end;
    }
    return whole;
}

bool find_module(Table* table, uint64_t lookup_pc, CodeObject* object, uint32_t* number) {
    *number = 0;
    dl_find_object found;
    if (_dl_find_object(reinterpret_cast<void*>(lookup_pc), &found) != 0 || !found.dlfo_link_map)
        return false;
    object->eh_frame_hdr = static_cast<const uint8_t*>(found.dlfo_eh_frame);
    const MappedFile file = mapped_file(found);
    object->map_start = file.start;
    object->map_end = file.end;
    Description is{};
    is.start = object->map_start;
    is.end = object->map_end;
    is.bias = found.dlfo_link_map->l_addr;
    is.path = found.dlfo_link_map->l_name;
    is.path_bytes = is.path ? strlen(is.path) : 0;
    if (is.path_bytes == 0) {
        is.path = executable;
        is.path_bytes = executable_bytes;
    }
    is.build_id_bytes = read_build_id(is.start, is.end, is.bias, is.build_id);
    *number = find_record(table, is);
    if (*number == 0) *number = add_record(table, is);
    if (*number == 0) table->lose(UF_LOSS_module_table_full);
    return true;
}

}
