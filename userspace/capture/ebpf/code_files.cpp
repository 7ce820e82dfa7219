#include "userspace/capture/ebpf/code_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace unfreed::ebpf {
namespace {

constexpr FileId kVdso{0, 1};
constexpr std::uint64_t kLargestVdso = 64 << 10;

std::vector<std::byte> read_memory(pid_t pid, std::uint64_t address, std::uint64_t count) {
    const Descriptor memory(open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> bytes(count < kLargestVdso ? count : kLargestVdso);
    const ssize_t got =
        memory ? pread(memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(address)) : 0;
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
}

}  // namespace

const CodeFile* CodeFiles::of_mapping(pid_t pid, const CodeMapping& mapping) {
    if (mapping.path == "[vdso]") {
        const auto known = files_.find(kVdso);
        if (known != files_.end()) return known->second.get();
        auto image = read_memory(pid, mapping.begin, mapping.end - mapping.begin);
        return image.empty() ? nullptr : keep(kVdso, std::make_shared<CodeFile>(std::move(image)));
    }
    if (mapping.file.inode == 0) return nullptr;
    const auto known = files_.find(mapping.file);
    if (known != files_.end()) return known->second.get();
    Descriptor file = open_mapped_file(pid, mapping);
    if (!file) return nullptr;
    const CodeFile* const opened = of_descriptor(std::move(file));
    for (const auto& [id, kept] : files_) {
        if (kept.get() != opened) continue;
        const auto shared = kept;
        files_[mapping.file] = shared;
        break;
    }
    return opened;
}

const CodeFile* CodeFiles::of_path(const std::string& path) {
    return of_descriptor(Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC)));
}

const CodeFile* CodeFiles::of_descriptor(Descriptor file) {
    struct stat status {};
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
    const FileId id{status.st_dev, status.st_ino};
    const auto known = files_.find(id);
    if (known != files_.end()) return known->second.get();
    return keep(id, std::make_shared<CodeFile>(std::move(file), functions_));
}

const CodeFile* CodeFiles::of_table(std::uint32_t table) const {
    return table < tables_.size() ? tables_[table] : nullptr;
}

bool CodeFiles::have(std::uint32_t function) const {
    return std::any_of(files_.begin(), files_.end(), [&](const auto& file) {
        const auto& found = file.second->functions();
        return std::any_of(found.begin(), found.end(),
                           [&](const FoundFunction& one) { return one.function.index == function; });
    });
}

const CodeFile* CodeFiles::keep(FileId id, std::shared_ptr<CodeFile> file) {
    if (!file->table().rows.empty() && tables_.size() < UF_BPF_TABLES) {
        made_.push_back({file.get(), id, kernel_.make_table(file->table().rows)});
        file->kernel_table = static_cast<std::uint32_t>(tables_.size());
        tables_.push_back(file.get());
    }
    return (files_[id] = std::move(file)).get();
}

void CodeFiles::hand_over() {
    if (made_.empty()) return;
    std::vector<int> tables;
    for (const Made& made : made_) tables.push_back(made.table.get());
    kernel_.set_tables(made_.front().file->kernel_table, tables);
    for (const auto& [file, id, table] : std::exchange(made_, {})) {
        file->kernel_table_known = true;
        const auto segment = file->code_segment();
        if (!segment || id == kVdso) continue;
        const std::uint64_t device = std::uint64_t{major(id.device)} << 20 | minor(id.device);
        kernel_.set_file({id.inode, device},
                         {segment->offset, segment->address, file->table().base, file->kernel_table,
                          static_cast<std::uint32_t>(file->table().rows.size())});
    }
}

}  // namespace unfreed::ebpf
