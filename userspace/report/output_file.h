// OutputFile: a file that appears whole or not at all. Written beside its path, synced, renamed: a full disk
// or a kill never destroys the file that was there. What is not a regular file (/dev/null, a pipe) is written
// in place.
#pragma once
#include <ostream>
#include <streambuf>
#include <string>

namespace unfreed {

class OutputFile {
  public:
    explicit OutputFile(std::string path);  // Error (125) when it cannot be created
    explicit OutputFile(int descriptor);    // what is open already, written in place; stays open
    ~OutputFile();                          // without commit() nothing is left
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    int descriptor() const { return descriptor_; }
    void write(const char* data, std::size_t size);  // Error (125)
    void commit();                                   // Error (125); the old file is as it was then

    // Error for a write that failed with `error_number`.
    [[noreturn]] void fail(int error_number) const;

  private:
    std::string path_;       // as the user gave it
    std::string target_;     // where it leads: symbolic links are followed, so that they stay
    std::string temporary_;  // empty: written in place, or committed
    int descriptor_ = -1;
};

// A stream into an OutputFile. Errors are thrown out of the `<<` that meets them.
class OutputStream : private std::streambuf, public std::ostream {
  public:
    explicit OutputStream(OutputFile& file);

  private:
    int overflow(int c) override;
    int sync() override;

    OutputFile& file_;
    char buffer_[1 << 14];
};

}  // namespace unfreed
