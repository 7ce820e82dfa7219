#include "tests/unit/go/go_file_builder.h"

namespace unfreed::testing {

GoFileBuilder::Image GoFileBuilder::table() {
    constexpr std::uint32_t kMagic[] = {0xfffffffb, 0xfffffffa, 0xfffffff0, 0xfffffff1};
    constexpr std::uint64_t kFunctionCount = 2;
    const bool old = layout_ == Layout::kGo12;

    // The parts that have no pointers first; in Go 1.2's layout everything counts from the table's start, so
    // they follow a header and function table whose size is known.
    const std::size_t functions_bytes = wide() ? 2 * 16 + 8 : 2 * 8 + 4;
    Image head;
    put(head, kMagic[static_cast<int>(layout_)]);
    head.append({0, 0, 1, 8});
    put(head, kFunctionCount);
    const std::size_t words = old ? 0 : wide() ? 6 : 7;
    Image rest(head.size() + words * 8 + (old ? functions_bytes + 4 : 0), '\0');
    const std::size_t after_head = rest.size();

    parts_.names = old ? 0 : rest.size();
    const auto name = [&](const char* text) {
        return static_cast<std::uint32_t>(put_string(rest, text) - parts_.names);
    };
    name("");
    const std::uint32_t outer = name("main.outer"), second = name("main.second");
    inner_name_ = name("main.inner");
    std::uint64_t file_list = 0;
    align(rest, 8);
    if (old) {
        const std::uint32_t outer_file = put_string(rest, "outer.go"),
                            second_file = put_string(rest, "second.go");
        align(rest, 4);
        file_list = rest.size();
        put<std::uint32_t>(rest, 3);
        put(rest, outer_file);
        put(rest, second_file);
    } else {
        parts_.units = rest.size();
        put<std::uint32_t>(rest, 0);  // unit 0: outer.go
        put<std::uint32_t>(rest, 9);  // unit 1: second.go, and one that was dropped
        put<std::uint32_t>(rest, ~0u);
        align(rest, 8);
        parts_.files = rest.size();
        put_string(rest, "outer.go");
        put_string(rest, "second.go");
        align(rest, 8);
        parts_.values = rest.size();
        put_string(rest, "");  // offset 0 means no table
    }
    const int first_file = old ? 1 : 0;
    const auto runs = [&](const std::vector<std::pair<int, unsigned>>& values) {
        return static_cast<std::uint32_t>(put_runs(rest, values) - parts_.values);
    };
    const std::uint32_t outer_pcfile = runs({{first_file, 0x40}});
    const std::uint32_t outer_pcln = runs({{10, 0x10}, {20, 0x10}, {12, 0x20}});
    const std::uint32_t outer_inlining = runs({{-1, 0x10}, {0, 0x10}, {-1, 0x20}});
    const std::uint32_t second_pcfile = runs({{old ? 2 : 0, 0x20}});
    const std::uint32_t second_pcln = runs({{33, 0x20}});
    align(rest, 8);
    parts_.functions = old ? 0 : rest.size();
    const std::size_t array = old ? 16 : rest.size();
    if (!old) rest.resize(rest.size() + functions_bytes);

    const auto record = [&](std::uint64_t entry, std::uint32_t named, std::uint32_t pcfile,
                            std::uint32_t pcln, std::uint32_t unit, std::uint32_t line,
                            std::uint32_t inlining) {
        align(rest, 8);
        const std::uint64_t at = rest.size() - parts_.functions;
        if (wide())
            put_pointer(rest, kTable, kText + entry);
        else
            put(rest, static_cast<std::uint32_t>(entry));
        for (std::uint32_t field : {named, 0u, 0u, 0u, pcfile, pcln, 3u}) put(rest, field);
        if (!old) put(rest, unit);
        if (layout_ == Layout::kGo120) put(rest, line);
        rest.append({0, 0, 0, 4});  // function id, flags, padding, number of function data
        for (std::uint32_t data : {0u, 0u, inlining})
            put(rest, data);  // pc data: inline tree index is the third
        for (std::uint32_t data : {~0u, ~0u, ~0u, inlining == 0 ? ~0u : 8u}) put(rest, data);
        return at;
    };
    const std::uint64_t records[] = {record(0, outer, outer_pcfile, outer_pcln, 0, 9, outer_inlining),
                                     record(0x40, second, second_pcfile, second_pcln, 1, 30, 0)};
    const std::uint64_t entries[] = {0, 0x40, 0x60};
    Image pairs;
    for (std::size_t i = 0; i < 3; ++i) {
        if (wide())
            put_pointer(pairs, kTable + array, kText + entries[i]);
        else
            put(pairs, static_cast<std::uint32_t>(entries[i]));
        if (i == 2) break;
        if (wide())
            put(pairs, records[i]);
        else
            put(pairs, static_cast<std::uint32_t>(records[i]));
    }
    rest.replace(array, pairs.size(), pairs);
    if (old) {
        put_at(rest, after_head - 4, static_cast<std::uint32_t>(file_list));
    } else {
        put<std::uint64_t>(head, 2);  // files
        if (!wide()) put_pointer(head, kTable, go_126_ ? 0 : kText);
        for (std::uint64_t part : {parts_.names, parts_.units, parts_.files, parts_.values, parts_.functions})
            put(head, part);
    }
    rest.replace(0, head.size(), head);
    return rest;
}

GoFileBuilder::Image GoFileBuilder::inline_tree() const {
    Image tree(8, '\0');  // the functions' data starts with something else
    if (layout_ == Layout::kGo118) {
        put<std::int16_t>(tree, -1);
        put<std::uint16_t>(tree, 0);
        put<std::uint32_t>(tree, 0);  // file
        put<std::uint32_t>(tree, 10);
        put(tree, inner_name_);
        put<std::uint32_t>(tree, 0x08);
    } else {
        put<std::uint32_t>(tree, 0);
        put(tree, inner_name_);
        put<std::uint32_t>(tree, 0x08);
        put<std::uint32_t>(tree, 19);  // start line
    }
    return tree;
}

GoFileBuilder::Image GoFileBuilder::module_data() {
    Image data(kModule % 0x1000, '\0');
    if (!module_ || wide()) return data;
    const std::uint64_t base = kModule - data.size();
    const auto pointer = [&](std::uint64_t value) { put_pointer(data, base, value); };
    const auto slice = [&](std::uint64_t at, std::uint64_t length) {
        pointer(at);
        put(data, length);
        put(data, length);
    };
    pointer(kTable);
    for (std::uint64_t part : {parts_.names, parts_.units, parts_.files, parts_.values, parts_.functions})
        slice(kTable + part, 8);
    slice(kTable + parts_.functions, 3);
    pointer(0);  // findfunctab
    for (std::uint64_t at : {kText, kText + 0x60}) pointer(at);
    pointer(module_text_);
    for (int word = 23; word < (layout_ == Layout::kGo118 ? 38 : go_126_ ? 42 : 40); ++word) pointer(kText);
    pointer(function_data_);
    pointer(table_end_);
    return data;
}

std::string GoFileBuilder::build() {
    struct Part {
        const char* name;
        std::uint64_t address;
        std::uint32_t type;
        Image bytes;
    };
    Image lines = table();
    if (go_126_) {
        align(lines, 8);
        function_data_ = kTable + lines.size();
        lines += inline_tree();
        table_end_ = kTable + lines.size();
    }
    const Image module = module_data();
    std::vector<Part> parts{
        {own_section_ ? ".gopclntab" : ".data.rel.ro", own_section_ ? kTable : kTable - 0x40, SHT_PROGBITS,
         own_section_ ? lines : Image(0x40, '\0') + lines},
        {".go.buildinfo", kInlines, SHT_PROGBITS, inline_tree()},
        {".noptrdata", kModule / 0x1000 * 0x1000, SHT_PROGBITS, module},
        {".rela.dyn", 0x800000, SHT_RELA,
         Image(reinterpret_cast<const char*>(relocations_.data()), relocations_.size() * sizeof(Elf64_Rela))},
        {".shstrtab", 0, SHT_STRTAB, {}},
    };
    Image& names = parts.back().bytes;
    names.push_back('\0');

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = relocated_ ? ET_DYN : ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<std::uint16_t>(parts.size() - 1);
    header.e_phoff = sizeof header;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = static_cast<std::uint16_t>(parts.size() + 1);
    header.e_shstrndx = static_cast<std::uint16_t>(parts.size());

    Image file(sizeof header + header.e_phnum * sizeof(Elf64_Phdr), '\0');
    std::vector<Elf64_Shdr> sections(1);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        Elf64_Shdr section{};
        section.sh_name = put_string(names, parts[i].name);
        section.sh_type = parts[i].type;
        section.sh_flags = parts[i].address != 0 ? SHF_ALLOC : 0;
        section.sh_addr = parts[i].address;
        align(file, 8);
        section.sh_offset = file.size();
        section.sh_size = parts[i].bytes.size();
        section.sh_addralign = 8;
        section.sh_entsize = parts[i].type == SHT_RELA ? sizeof(Elf64_Rela) : 0;
        file += parts[i].bytes;
        sections.push_back(section);
        if (i == header.e_phnum) break;
        Elf64_Phdr segment{};
        segment.p_type = PT_LOAD;
        segment.p_offset = section.sh_offset;
        segment.p_vaddr = section.sh_addr;
        segment.p_filesz = segment.p_memsz = section.sh_size;
        put_at(file, sizeof header + i * sizeof segment, segment);
    }
    align(file, 8);
    header.e_shoff = file.size();
    for (const Elf64_Shdr& section : sections) put(file, section);
    put_at(file, 0, header);
    return file;
}

}  // namespace unfreed::testing
