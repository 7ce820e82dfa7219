#include "userspace/report/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "userspace/error.h"
#include "userspace/report/report.h"

namespace unfreed {

OutputFile::OutputFile(std::string path) : path_(std::move(path)), target_(path_) {
    struct stat there {};
    const bool exists = stat(path_.c_str(), &there) == 0;
    if (exists && S_ISDIR(there.st_mode)) {
        throw Error(path_, "is a folder", "give the name of a file");
    }
    if (exists && !S_ISREG(there.st_mode)) {
        descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    } else {
        char resolved[PATH_MAX];
        if (exists && realpath(path_.c_str(), resolved) != nullptr) {
            target_ = resolved;
        }
        temporary_ = target_ + ".tmp" + std::to_string(getpid());
        descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (descriptor_ < 0) {
        const int error_number = errno;
        temporary_.clear();
        throw Error(path_, std::string("cannot be written: ") + std::strerror(error_number),
                    "choose another place with -o");
    }
}

OutputFile::OutputFile(int descriptor) : path_("standard output") {
    descriptor_ = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (descriptor_ < 0) {
        fail(errno);
    }
}

OutputFile::~OutputFile() {
    if (descriptor_ >= 0) {
        close(descriptor_);
    }
    if (!temporary_.empty()) {
        unlink(temporary_.c_str());
    }
}

void OutputFile::fail(int error_number) const {
    throw Error(path_, std::string("writing failed: ") + std::strerror(error_number),
                temporary_.empty() ? "choose another place with -o"
                                   : "nothing was replaced, choose another place with -o");
}

void OutputFile::write(const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t written = ::write(descriptor_, data, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            fail(written < 0 ? errno : ENOSPC);
        }
        data += written;
        size -= static_cast<std::size_t>(written);
    }
}

void OutputFile::commit() {
    if (!temporary_.empty()) {
        if (fsync(descriptor_) != 0 && errno != EINVAL) {
            fail(errno);
        }
        if (rename(temporary_.c_str(), target_.c_str()) != 0) {
            fail(errno);
        }
        temporary_.clear();
    }
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (close(descriptor) != 0) {
        fail(errno);
    }
}

OutputStream::OutputStream(OutputFile& file) : std::ostream(this), file_(file) {
    setp(buffer_, buffer_ + sizeof buffer_);
    exceptions(std::ios::badbit);
}

int OutputStream::overflow(int c) {
    sync();
    if (c == EOF) {
        return 0;
    }
    return sputc(static_cast<char>(c));
}

int OutputStream::sync() {
    file_.write(pbase(), static_cast<std::size_t>(pptr() - pbase()));
    setp(buffer_, buffer_ + sizeof buffer_);
    return 0;
}

void check_writable(const std::string& path) {
    const OutputFile probe(path);
}

}  // namespace unfreed
