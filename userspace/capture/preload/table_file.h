// TableFile: the memory file of one process image's table, made by us and handed to the shim.
//
// Everything in it but what create() writes is untrusted. Its size is sealed, so that no traced program can
// make our reads fault by cutting it. Holes are never touched, for reading a hole through a mapping would
// fill it.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "preload/contract/table.h"
#include "userspace/process/descriptor.h"

namespace unfreed {

class TableFile {
  public:
    // A fresh table with its header's magic, version and our settings. Error (125) when the system refuses.
    static TableFile create(std::uint32_t cell_shift, std::uint64_t sample_bytes, std::uint32_t epoch,
                            bool go_created_by = false);

    TableFile(TableFile&& other) noexcept;
    TableFile& operator=(TableFile&& other) noexcept;
    ~TableFile();

    int descriptor() const { return file_.get(); }
    std::uint32_t cell_shift() const { return cell_shift_; }  // as created, whatever the header says now
    std::uint64_t sample_bytes() const { return sample_bytes_; }

    // The two words of ours in it (contract/table.h: any value is harmless to the shim).
    void set_epoch(std::uint32_t epoch);
    void stop_recording();

    // The header as it is now: every field untrusted.
    uf_header header() const;

    // Calls visit(offset, bytes) for each stretch of [offset, offset + length) that is not a hole, in order
    // and page by page at the finest. The program may write into the bytes meanwhile: read each word once.
    using Visit = std::function<void(std::uint64_t offset, std::span<const std::byte> bytes)>;
    void for_each_data(std::uint64_t offset, std::uint64_t length, const Visit& visit) const;

    // `count` records from `offset` on, or fewer: up to the last that is not in a hole. Holes between are
    // zeros.
    template <class Record>
    std::vector<Record> copy(std::uint64_t offset, std::size_t count) const {
        std::vector<Record> records(data_end(offset, count * sizeof(Record), sizeof(Record)));
        copy_bytes(offset, std::as_writable_bytes(std::span(records)));
        return records;
    }

  private:
    TableFile() = default;
    std::size_t data_end(std::uint64_t offset, std::uint64_t length, std::size_t record) const;
    void copy_bytes(std::uint64_t offset, std::span<std::byte> to) const;

    Descriptor file_;
    std::uint32_t cell_shift_ = 5;
    std::uint64_t sample_bytes_ = 0;
    uf_header* header_ = nullptr;  // the first page, mapped for writing
};

}  // namespace unfreed
