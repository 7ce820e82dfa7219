// The walk over this process's own stack, with the tables of its own files, against the frames that are known
// to be there.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <thread>
#include <vector>

#include "symbolizer/unwind/unwind_table.h"

namespace {

int uf_read_word(void*, std::uint64_t address, std::uint64_t* value) {
    std::memcpy(value, reinterpret_cast<const void*>(address), sizeof *value);
    return 0;
}

#include "bpf/walk.h"

struct Loaded {
    std::uint64_t begin, end, bias;
    unfreed::unwind::UnwindTable table;
};

std::vector<Loaded> loaded_files() {
    std::vector<Loaded> files;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
            const char* const path = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
            const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
            if (descriptor < 0) return 0;  // [vdso]
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& header = info->dlpi_phdr[i];
                if (header.p_type != PT_LOAD || !(header.p_flags & PF_X)) continue;
                const std::uint64_t begin = info->dlpi_addr + header.p_vaddr;
                static_cast<std::vector<Loaded>*>(data)->push_back(
                    {begin, begin + header.p_memsz, info->dlpi_addr,
                     unfreed::unwind::compile_file(descriptor)});
            }
            close(descriptor);
            return 0;
        },
        &files);
    return files;
}

struct Walked {
    std::vector<std::uint64_t> frames;
    uf_end end = UF_END_NONE;
};

__attribute__((noinline)) Walked walk_here(const std::vector<Loaded>& files) {
    uf_frame frame{};
    asm volatile("lea 0(%%rip), %0\n mov %%rsp, %1\n mov %%rbp, %2"
                 : "=r"(frame.at.pc), "=r"(frame.at.sp), "=r"(frame.at.bp));
    frame.exact = 1;
    Walked walked;
    while (walked.end == UF_END_NONE && walked.frames.size() < 400) {
        uf_rule rule{};
        bool known = false;
        for (const Loaded& file : files) {
            if (frame.at.pc < file.begin || frame.at.pc >= file.end) continue;
            rule = unfreed::unwind::rule_at(file.table, uf_lookup_pc(&frame) - file.bias);
            known = true;
        }
        if (!known) break;
        walked.frames.push_back(frame.at.pc);
        walked.end = uf_step(nullptr, &frame, rule);
    }
    return walked;
}

__attribute__((noinline)) Walked deeper(const std::vector<Loaded>& files, int depth) {
    Walked walked = depth == 0 ? walk_here(files) : deeper(files, depth - 1);
    asm volatile("" : "+m"(walked));  // no tail call
    return walked;
}

}  // namespace

TEST_CASE("a thread's own stack is walked to its entry, frame by frame") {
    const auto files = loaded_files();
    Walked shallow, deep;
    std::thread([&] {
        shallow = deeper(files, 1);
        deep = deeper(files, 101);
    }).join();
    CHECK(shallow.end == UF_END_REACHED);
    CHECK(deep.end == UF_END_REACHED);
    CHECK(deep.frames.size() == shallow.frames.size() + 100);
    REQUIRE(shallow.frames.size() > 2);
    CHECK(deep.frames.back() == shallow.frames.back());
}
