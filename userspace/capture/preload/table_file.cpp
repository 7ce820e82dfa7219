#include "userspace/capture/preload/table_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "userspace/error.h"

namespace unfreed {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWindow = 16ull << 20;  // mapped at a time

[[noreturn]] void refuse(const char* what_to_do) {
    throw Error("no table for a process", std::strerror(errno), what_to_do);
}

// The kernel holds a memory file's size against the limit for files.
void lift_file_size_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_cur >= UF_TABLE_BYTES) return;
    limit.rlim_max = std::max<rlim_t>(limit.rlim_max, UF_TABLE_BYTES);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

TableFile TableFile::create(std::uint32_t cell_shift, std::uint64_t sample_bytes, std::uint32_t epoch,
                            bool go_created_by) {
    TableFile table;
    table.cell_shift_ = cell_shift;
    table.sample_bytes_ = sample_bytes;
    table.file_ = Descriptor(memfd_create("unfreed-table", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!table.file_) refuse("raise the limit of open files (ulimit -n)");
    lift_file_size_limit();
    if (ftruncate(table.descriptor(), UF_TABLE_BYTES) != 0)
        refuse("raise the limit of file sizes (ulimit -f)");
    fcntl(table.descriptor(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    void* page =
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, table.descriptor(), UF_HEADER_OFFSET);
    if (page == MAP_FAILED) refuse("raise the limits of memory");
    table.header_ = static_cast<uf_header*>(page);
    *table.header_ = uf_header{};
    table.header_->magic = UF_TABLE_MAGIC;
    table.header_->version = UF_TABLE_VERSION;
    table.header_->cell_shift = cell_shift;
    table.header_->sample_bytes = sample_bytes;
    table.header_->recording = 1;
    table.header_->epoch = epoch;
    table.header_->go_created_by = go_created_by ? 1 : 0;
    return table;
}

TableFile::TableFile(TableFile&& other) noexcept
    : file_(std::move(other.file_)),
      cell_shift_(other.cell_shift_),
      sample_bytes_(other.sample_bytes_),
      header_(std::exchange(other.header_, nullptr)) {}

TableFile& TableFile::operator=(TableFile&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(cell_shift_, other.cell_shift_);
    std::swap(sample_bytes_, other.sample_bytes_);
    std::swap(header_, other.header_);
    return *this;
}

TableFile::~TableFile() {
    if (header_ != nullptr) munmap(header_, kPage);
}

void TableFile::set_epoch(std::uint32_t epoch) {
    __atomic_store_n(&header_->epoch, epoch, __ATOMIC_RELAXED);
}

void TableFile::stop_recording() {
    __atomic_store_n(&header_->recording, 0, __ATOMIC_RELAXED);
}

uf_header TableFile::header() const {
    uf_header copy;
    std::memcpy(&copy, header_, sizeof copy);
    // What these counts publish is read after them: pairs with the shim's releases.
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return copy;
}

void TableFile::for_each_data(std::uint64_t offset, std::uint64_t length, const Visit& visit) const {
    const std::uint64_t end = offset + length;
    std::uint64_t at = offset;
    while (at < end) {
        const off_t data = lseek(descriptor(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 || static_cast<std::uint64_t>(data) >= end) return;  // only a hole is left
        const off_t hole = lseek(descriptor(), data, SEEK_HOLE);
        if (hole <= data) return;
        const std::uint64_t begin = std::max<std::uint64_t>(static_cast<std::uint64_t>(data), at);
        at = std::min({static_cast<std::uint64_t>(hole), end, begin + kWindow});
        const std::uint64_t page = begin & ~(kPage - 1);
        void* mapped = mmap(nullptr, at - page, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor(),
                            static_cast<off_t>(page));
        if (mapped == MAP_FAILED)
            throw Error("cannot read a process's table", std::strerror(errno), "raise the limits of memory");
        visit(begin, {static_cast<const std::byte*>(mapped) + (begin - page), at - begin});
        munmap(mapped, at - page);
    }
}

std::size_t TableFile::data_end(std::uint64_t offset, std::uint64_t length, std::size_t record) const {
    std::uint64_t end = offset;
    for (std::uint64_t at = offset; at < offset + length;) {
        const off_t data = lseek(descriptor(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 || static_cast<std::uint64_t>(data) >= offset + length) break;
        const off_t hole = lseek(descriptor(), data, SEEK_HOLE);
        if (hole <= data) break;
        end = at = std::min<std::uint64_t>(static_cast<std::uint64_t>(hole), offset + length);
    }
    return (end - offset + record - 1) / record;
}

void TableFile::copy_bytes(std::uint64_t offset, std::span<std::byte> to) const {
    for_each_data(offset, to.size(), [&](std::uint64_t at, std::span<const std::byte> bytes) {
        std::memcpy(to.data() + (at - offset), bytes.data(), bytes.size());
    });
}

}  // namespace unfreed
