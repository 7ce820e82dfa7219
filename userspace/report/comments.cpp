#include "userspace/report/comments.h"

#include <fmt/format.h>

#include <charconv>

namespace unfreed {
namespace {

constexpr std::string_view kNothingLost = "nothing lost";

// What follows `key` when the comment starts with it.
bool take(std::string_view comment, std::string_view key, std::string& value) {
    if (!comment.starts_with(key)) {
        return false;
    }
    value = comment.substr(key.size());
    return true;
}

constexpr std::string_view kMemoryOf = "of ", kMemoryNote = "note: ", kKernel = " VmRSS + VmSwap";
constexpr std::string_view kResident = " resident, ", kSwapped = " swapped", kRow = ": ",
                           kProcess = ", in all: ";

std::string memory_row(const MemoryRow& row, std::string_view before_name) {
    return fmt::format("memory: {}{}{}{}{}{}", row.resident, kResident, row.swapped, kSwapped, before_name,
                       row.name);
}

void add_memory(const MemoryTable& table, std::vector<std::string>& comments) {
    if (!table.of.empty()) comments.push_back(fmt::format("memory: {}{}", kMemoryOf, table.of));
    for (const MemoryRow& row : table.rows) comments.push_back(memory_row(row, kRow));
    if (table.kernel != 0) comments.push_back(fmt::format("memory: {}{}", table.kernel, kKernel));
    for (const MemoryRow& process : table.processes) comments.push_back(memory_row(process, kProcess));
    for (const std::string& note : table.notes)
        comments.push_back(fmt::format("memory: {}{}", kMemoryNote, note));
}

bool take_number(std::string_view& text, std::uint64_t& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool take_word(std::string_view& text, std::string_view word) {
    if (!text.starts_with(word)) return false;
    text.remove_prefix(word.size());
    return true;
}

// False: not in the form that add_memory() gives it.
bool read_memory(std::string_view line, MemoryTable& table) {
    MemoryRow row;
    if (take_word(line, kMemoryOf)) {
        table.of = line;
    } else if (take_word(line, kMemoryNote)) {
        table.notes.emplace_back(line);
    } else if (!take_number(line, row.resident)) {
        return false;
    } else if (line == kKernel) {
        table.kernel = row.resident;
    } else if (take_word(line, kResident) && take_number(line, row.swapped) && take_word(line, kSwapped)) {
        const bool process = take_word(line, kProcess);
        if (!process && !take_word(line, kRow)) return false;
        row.name = line;
        (process ? table.processes : table.rows).push_back(row);
    } else {
        return false;
    }
    return true;
}

}  // namespace

std::string sampling_text(const Profile& profile) {
    return profile.sample_bytes <= 1
               ? "every allocation"
               : fmt::format("one allocation in {} bytes on average", profile.sample_bytes);
}

std::vector<std::string> comments_of(const Profile& profile) {
    std::vector<std::string> comments;
    if (!profile.command.empty()) {
        comments.push_back("command: " + profile.command);
    }
    if (!profile.backend.empty()) {
        comments.push_back("backend: " + profile.backend);
        comments.push_back("sampling: " + sampling_text(profile));
        comments.push_back(
            fmt::format("duration: {:.3f} s", static_cast<double>(profile.duration_nanos) / 1e9));
    }
    for (const std::string& process : profile.processes) {
        comments.push_back("process: " + process);
    }
    if (profile.losses) {
        for (const std::string& loss : *profile.losses) {
            comments.push_back("lost: " + loss);
        }
        if (profile.losses->empty()) {
            comments.emplace_back(kNothingLost);
        }
    }
    for (const std::string& note : profile.notes) {
        comments.push_back("note: " + note);
    }
    add_memory(profile.memory, comments);
    return comments;
}

void read_comment(std::string_view comment, Profile& profile) {
    std::string value;
    if (take(comment, "command: ", profile.command) || take(comment, "backend: ", profile.backend)) {
        return;
    }
    if (take(comment, "sampling: ", value) || take(comment, "duration: ", value)) {
        return;
    }
    if (take(comment, "memory: ", value) && read_memory(value, profile.memory)) {
        return;
    }
    if (take(comment, "process: ", value)) {
        profile.processes.push_back(value);
    } else if (comment == kNothingLost) {
        profile.losses.emplace();
    } else if (take(comment, "lost: ", value)) {
        if (!profile.losses) {
            profile.losses.emplace();
        }
        profile.losses->push_back(value);
    } else {
        profile.notes.push_back(take(comment, "note: ", value) ? value : std::string(comment));
    }
}

std::vector<std::string> loss_statement(const Profile& profile) {
    if (!profile.losses) {
        return {"what was lost is not known: the profile has no loss statement"};
    }
    return profile.losses->empty() ? std::vector<std::string>{std::string(kNothingLost)} : *profile.losses;
}

}  // namespace unfreed
