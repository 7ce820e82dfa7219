#include "tests/unit/preload/mapped_elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace unfreed::preload {
namespace {

constexpr uint64_t kPage = 4096;

template <typename T>
T read_at(int descriptor, uint64_t offset) {
    T value;
    if (pread(descriptor, &value, sizeof(T), static_cast<off_t>(offset)) != static_cast<ssize_t>(sizeof(T))) {
        throw std::runtime_error("cannot read");
    }
    return value;
}

}

MappedElf::MappedElf(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw std::runtime_error("cannot open " + path);
    try {
        map_segments();
    } catch (...) {
        if (reservation_) munmap(reservation_, length_);
        close(descriptor_);
        throw;
    }
}

MappedElf::~MappedElf() {
    munmap(reservation_, length_);
    close(descriptor_);
}

void MappedElf::map_segments() {
    const auto header = read_at<Elf64_Ehdr>(descriptor_, 0);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_X86_64) {
        throw std::runtime_error("no x86-64 ELF file");
    }
    std::vector<Elf64_Phdr> segments(header.e_phnum);
    for (size_t i = 0; i < segments.size(); ++i) {
        segments[i] = read_at<Elf64_Phdr>(descriptor_, header.e_phoff + i * sizeof(Elf64_Phdr));
    }
    uint64_t low = UINT64_MAX, high = 0, eh_frame_hdr = 0;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type == PT_GNU_EH_FRAME) eh_frame_hdr = segment.p_vaddr;
        if (segment.p_type != PT_LOAD) continue;
        low = std::min(low, segment.p_vaddr & ~(kPage - 1));
        high = std::max(high, (segment.p_vaddr + segment.p_memsz + kPage - 1) & ~(kPage - 1));
    }
    if (eh_frame_hdr == 0 || low >= high) throw std::runtime_error("no .eh_frame_hdr");
    length_ = high - low;
    reservation_ = mmap(nullptr, length_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reservation_ == MAP_FAILED) {
        reservation_ = nullptr;
        throw std::runtime_error("cannot reserve");
    }
    bias_ = reinterpret_cast<uint64_t>(reservation_) - low;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type != PT_LOAD || segment.p_filesz == 0) continue;
        const uint64_t begin = segment.p_vaddr & ~(kPage - 1);
        const uint64_t bytes = segment.p_vaddr + segment.p_filesz - begin;
        void* where = reinterpret_cast<void*>(begin + bias_);
        const uint64_t offset = segment.p_offset - (segment.p_vaddr - begin);
        if (mmap(where, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, descriptor_, static_cast<off_t>(offset)) !=
            where) {
            throw std::runtime_error("cannot map");
        }
    }
    const uint64_t table = eh_frame_hdr + bias_;
    object_ = {reinterpret_cast<const uint8_t*>(table), low + bias_, high + bias_};
    int32_t count = 0;
    std::memcpy(&count, object_.eh_frame_hdr + 8, sizeof(count));
    for (int32_t i = 0; i < count; ++i) {
        int32_t start;
        std::memcpy(&start, object_.eh_frame_hdr + 12 + 8 * i, sizeof(start));
        function_starts_.push_back(table + static_cast<uint64_t>(int64_t{start}));
    }
}

}
