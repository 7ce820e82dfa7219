#include "userspace/report/comments.h"

#include <fmt/format.h>

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
        take(comment, "note: ", value);
        profile.notes.push_back(value.empty() ? std::string(comment) : value);
    }
}

std::vector<std::string> loss_statement(const Profile& profile) {
    if (!profile.losses) {
        return {"what was lost is not known: the profile has no loss statement"};
    }
    return profile.losses->empty() ? std::vector<std::string>{std::string(kNothingLost)} : *profile.losses;
}

}  // namespace unfreed
