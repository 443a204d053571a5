// SPDX-License-Identifier: Apache-2.0
//
// Files that others may have written: their size is known before a byte of them is read.
#ifndef INFERWIRE_DETAIL_BASE_FILE_H_
#define INFERWIRE_DETAIL_BASE_FILE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#include <filesystem>
#endif

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A regular file that is read from its begin. A directory, a device and a pipe are none: they have no size, and a pipe
/// may have its reader wait for ever. The messages of errors are the reasons alone, without the path.
class RegularFile {
 public:
  static absl::StatusOr<RegularFile> Open(const std::string& path) {
    if (path.find('\0') != std::string::npos) return InvalidArgumentError("its path holds a zero byte");
#if defined(__unix__) || defined(__APPLE__)
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // an open pipe is not waited for
    if (file < 0) return Failed();
    RegularFile out(fdopen(file, "rb"));
    if (out.file_ == nullptr) {
      const int error = errno;
      close(file);
      return Failed(error);
    }
    struct stat about = {};
    if (fstat(file, &about) != 0) return Failed();
    if (!S_ISREG(about.st_mode)) return NoRegularFile();
    out.size_ = static_cast<std::uint64_t>(about.st_size);
#else
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return Failed(error.value() != 0 ? error.value() : ENOENT);
    if (!std::filesystem::is_regular_file(path, error)) return NoRegularFile();
    RegularFile out(std::fopen(path.c_str(), "rb"));
    if (out.file_ == nullptr) return Failed();
    out.size_ = std::filesystem::file_size(path, error);
    if (error) return Failed(error.value());
#endif
    std::setvbuf(out.file_.get(), nullptr, _IONBF, 0);  // what is read goes straight to its place
    return out;
  }

  /// As it was when it was opened.
  std::uint64_t size() const { return size_; }

  /// The next so many bytes. DATA_LOSS where there are fewer.
  absl::Status Read(char* to, std::size_t count) {
    const std::size_t got = std::fread(to, 1, count, file_.get());
    if (got == count) return absl::OkStatus();
    if (std::ferror(file_.get()) != 0) return Failed();
    return MakeError(absl::StatusCode::kDataLoss, "it has become shorter while it was read");
  }

 private:
  explicit RegularFile(std::FILE* file) : file_(file, std::fclose) {}

  static absl::Status Failed(int error = errno) {
    return MakeError(absl::ErrnoToStatusCode(error), std::strerror(error));
  }
  static absl::Status NoRegularFile() {
    return InvalidArgumentError("it is no regular file, but a directory, a device or a pipe");
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::uint64_t size_ = 0;
};

/// What `fn` gives, a Status or StatusOr; RESOURCE_EXHAUSTED where there is not so much memory.
template <class Fn>
std::invoke_result_t<Fn> WithinMemory(Fn fn) {
#ifdef __cpp_exceptions
  try {
    return fn();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  return ResourceExhaustedError("there is not so much memory");
#else
  return fn();
#endif
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_FILE_H_
