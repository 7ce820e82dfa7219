// read_pprof() on any bytes: an Error or a profile that every view can show, nothing else.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <streambuf>

#include "userspace/error.h"
#include "userspace/report/difference.h"
#include "userspace/report/pprof_read.h"
#include "userspace/report/report.h"
#include "userspace/report/text.h"
#include "userspace/report/views.h"

using namespace unfreed;

namespace {

struct Nowhere : std::streambuf {
    int overflow(int c) override { return c == EOF ? 0 : c; }
    std::streamsize xsputn(const char*, std::streamsize size) override { return size; }
};

Profile read(const std::uint8_t* data, std::size_t size) {
    const int file = memfd_create("profile", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != static_cast<ssize_t>(size) || lseek(file, 0, SEEK_SET) != 0) {
        abort();
    }
    return read_pprof(file, "profile");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const Profile profile = read(data, size);
        Nowhere nowhere;
        std::ostream out(&nowhere);
        TextOptions text;
        text.terminal = {80, true};
        write_text(profile, text, out);
        write_folded(profile, {}, out);
        write_json(profile, {}, out);
        write_html(profile, {}, out);
        write_pprof(profile, "/dev/null");
        const Profile none = difference(read(data, size), read(data, size));
        write_text(none, text, out);
    } catch (const Error&) {  // it said what is wrong
    }
    return 0;
}
