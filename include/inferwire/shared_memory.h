// SPDX-License-Identifier: Apache-2.0
//
// SharedMemoryRegion: POSIX shared memory that a server on the same machine reads tensors from, and writes them to.
#ifndef INFERWIRE_SHARED_MEMORY_H_
#define INFERWIRE_SHARED_MEMORY_H_

// 0 where the platform has no POSIX shared memory; this header declares nothing then.
#if defined(__unix__) || defined(__APPLE__)
#define INFERWIRE_HAS_SHARED_MEMORY 1
#else
#define INFERWIRE_HAS_SHARED_MEMORY 0
#endif

#if INFERWIRE_HAS_SHARED_MEMORY

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Pages of a shared-memory object in this process, for as long as anybody refers to them.
class SharedMapping {
 public:
  SharedMapping(void* data, std::size_t size) : data_(data), size_(size) {}
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping() { munmap(data_, size_); }

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), size_}; }

 private:
  void* data_;
  std::size_t size_;
};

/// An open shared-memory object. While it is open it may be locked, which other processes see; the system opens the
/// lock when the process ends, however it does.
class SharedFile {
 public:
  SharedFile() = default;
  /// Errors are in errno; `*this` is then none.
  SharedFile(const std::string& key, int flags, mode_t permissions = 0)
      : file_(shm_open(key.c_str(), flags, permissions)) {}
  SharedFile(SharedFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  SharedFile& operator=(SharedFile&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~SharedFile() {
    if (file_ >= 0) close(file_);
  }

  explicit operator bool() const { return file_ >= 0; }
  int get() const { return file_; }
  /// False where another process holds it. Where the system cannot lock such objects it is nobody's, and true.
  bool Lock() const {
    int locked = 0;
    do {
      locked = flock(file_, LOCK_EX | LOCK_NB);
    } while (locked != 0 && errno == EINTR);
    return locked == 0 || errno != EWOULDBLOCK;
  }
  /// Whether it is what the name stands for: it may have been removed since, and another made.
  bool Is(const std::string& key) const {
    const SharedFile named(key, O_RDONLY | O_NONBLOCK);  // a pipe may lie there
    if (!named) return errno != ENOENT;
    struct stat a = {}, b = {};
    return fstat(file_, &a) == 0 && fstat(named.file_, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  }

 private:
  int file_ = -1;
};

/// How many elements an output has that came without them.
inline absl::StatusOr<std::uint64_t> PlacedCount(const InferResult& result, std::string_view output,
                                                 DataType datatype) {
  for (const PlacedOutput& placed : result.placed_outputs()) {
    if (placed.name != output) continue;
    if (placed.datatype != datatype) {
      return detail::InvalidArgumentError(
          Cat("output '", output, "' is ", DataTypeName(placed.datatype), "; expected ", DataTypeName(datatype)));
    }
    const absl::StatusOr<std::int64_t> count = ElementCount(placed.shape);
    if (!count.ok()) return detail::InternalError(count.status().message());
    return static_cast<std::uint64_t>(*count);
  }
  const auto found = result.Find(output);
  if (!found.ok()) return found.status();
  return detail::InvalidArgumentError(Cat("output '", output, "' came with the answer, not in shared memory"));
}

}  // namespace detail

/// Elements of one type in a region. A small value; keeps the memory alive. Whoever fills or reads them does so while
/// no request is under way that uses them: the server reads and writes at its own pace.
template <class T>
class SharedTensor {
 public:
  std::span<T> elements() const { return elements_; }
  const SharedMemoryPlacement& placement() const { return placement_; }

  /// These elements as an input.
  InferInput Input(std::string name, Shape shape) const {
    return InferInput(std::move(name), placement_, DataTypeOf<T>, std::move(shape), mapping_);
  }
  /// These elements as the place of an output; the server may fill a part of them. The memory must stay until the call
  /// has completed.
  RequestedOutput Output(std::string name) const { return {.name = std::move(name), .placement = placement_}; }

  /// The elements of an output that was asked for here: as many as its shape says, from the first. INVALID_ARGUMENT for
  /// another datatype or an output that is elsewhere; INTERNAL where there is no room for what the server says.
  absl::StatusOr<std::span<const T>> Read(const InferResult& result, std::string_view output) const {
    const absl::StatusOr<std::uint64_t> count = detail::PlacedCount(result, output, DataTypeOf<T>);
    if (!count.ok()) return count.status();
    if (*count > elements_.size()) {
      return detail::InternalError(detail::Cat("output '", output, "' has ", *count,
                                               " elements, but there is room for ", elements_.size(),
                                               " in shared memory"));
    }
    return std::span<const T>(elements_).first(static_cast<std::size_t>(*count));
  }
  /// The same for BYTES; the views are into the region.
  absl::StatusOr<std::vector<std::string_view>> ReadStrings(const InferResult& result, std::string_view output) const
    requires std::is_same_v<T, std::byte>
  {
    const absl::StatusOr<std::uint64_t> count = detail::PlacedCount(result, output, DataType::kBytes);
    if (!count.ok()) return count.status();
    std::vector<std::string_view> strings;
    std::string_view rest(reinterpret_cast<const char*>(elements_.data()), elements_.size());
    while (strings.size() < *count) {
      std::uint32_t length = 0;
      if (rest.size() >= 4) std::memcpy(&length, rest.data(), 4);
      if (rest.size() < 4 || length > rest.size() - 4) {
        return detail::InternalError(detail::Cat("output '", output, "': ", *count, " elements of BYTES do not fit in ",
                                                 elements_.size(), " bytes of shared memory"));
      }
      strings.push_back(rest.substr(4, length));
      rest.remove_prefix(4 + std::size_t{length});
    }
    return strings;
  }

 private:
  friend class SharedMemoryRegion;
  SharedTensor(std::shared_ptr<const detail::SharedMapping> mapping, std::span<T> elements,
               SharedMemoryPlacement placement)
      : mapping_(std::move(mapping)), elements_(elements), placement_(std::move(placement)) {}

  std::shared_ptr<const detail::SharedMapping> mapping_;
  std::span<T> elements_;
  SharedMemoryPlacement placement_;
};

/// How SharedMemoryRegion::Create makes a region.
struct SharedMemoryOptions {
  /// Those of a file: a server of another user needs more than the default.
  mode_t permissions = 0600;
  /// Whether a region of that name which a process left behind when it crashed is removed first. One whose process, or
  /// a child of it, still runs is not: ALREADY_EXISTS. What others than this class have made counts as left behind. A
  /// server that knows the old one by this name keeps it, with its memory, until it is told to forget it
  /// (Admin::UnregisterSystemSharedMemory).
  bool replace_abandoned = false;
};

/// A shared-memory object of this process's making: created, mapped, and removed from the system when this ends. The
/// memory itself stays as long as a tensor, an input or a request refers to it, or a server has it mapped. To be made
/// known to a server by Admin::Register. In a child of fork it is the same memory, and stays when the child's copy
/// ends. Move-only; allocating belongs to one thread at a time.
class SharedMemoryRegion {
 public:
  /// More than any element's, and what vector instructions like best.
  static constexpr std::size_t kAlignment = 64;

  /// Creates "/name" with room for `bytes`, which are zero; the pages are reserved at once, so that no access fails
  /// later. INVALID_ARGUMENT for a name that is empty, too long or has a slash, or a size of 0 or beyond the system's;
  /// ALREADY_EXISTS for a name that is taken; RESOURCE_EXHAUSTED where there is not so much memory.
  static absl::StatusOr<SharedMemoryRegion> Create(std::string name, std::size_t bytes,
                                                   const SharedMemoryOptions& options) {
    if (absl::Status status = Check(name, bytes); !status.ok()) return status;
    const std::string key = "/" + name;
    constexpr int kNew = O_CREAT | O_EXCL | O_RDWR;
    detail::SharedFile file(key, kNew, options.permissions);
    detail::SharedFile old;  // locked until the new one is
    if (!file && errno == EEXIST && options.replace_abandoned) {
      old = detail::SharedFile(key, O_RDWR);
      if (!old && errno != ENOENT) return Failed("replace", name, bytes, errno);
      if (old && !(old.Lock() && old.Is(key))) return InUse(name);
      if (old) shm_unlink(key.c_str());
      file = detail::SharedFile(key, kNew, options.permissions);
    }
    if (!file) return Failed("create", name, bytes, errno);
    // Another process that replaces what it takes for abandoned may have come first.
    if (!file.Lock() || !file.Is(key)) return InUse(name);
    const int error = Reserve(file.get(), bytes);
    void* const data =
        error != 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (data == MAP_FAILED) {
      const int failed = error != 0 ? error : errno;
      shm_unlink(key.c_str());
      return Failed("reserve", name, bytes, failed);
    }
    return SharedMemoryRegion(std::move(name), std::move(file),
                              std::make_shared<const detail::SharedMapping>(data, bytes));
  }
  static absl::StatusOr<SharedMemoryRegion> Create(std::string name, std::size_t bytes, mode_t permissions = 0600) {
    return Create(std::move(name), bytes, SharedMemoryOptions{.permissions = permissions});
  }

  SharedMemoryRegion(SharedMemoryRegion&& other) noexcept
      : name_(std::exchange(other.name_, "")),
        origin_(other.origin_),
        file_(std::move(other.file_)),
        mapping_(std::move(other.mapping_)),
        used_(other.used_) {}
  SharedMemoryRegion& operator=(SharedMemoryRegion&& other) noexcept {
    if (this != &other) {
      Unlink();
      name_ = std::exchange(other.name_, "");
      origin_ = other.origin_;
      file_ = std::move(other.file_);
      mapping_ = std::move(other.mapping_);
      used_ = other.used_;
    }
    return *this;
  }
  ~SharedMemoryRegion() { Unlink(); }

  /// What servers know it by.
  const std::string& name() const { return name_; }
  /// As shm_open takes it.
  std::string key() const { return "/" + name_; }
  std::size_t size() const { return mapping_->bytes().size(); }
  std::span<std::byte> bytes() const { return mapping_->bytes(); }

  /// Room for `count` elements behind what was allocated so far, aligned to kAlignment. RESOURCE_EXHAUSTED where the
  /// region is full, naming what is left. Elements are as the memory was: zero at first.
  template <TensorElement T>
    requires std::is_trivially_copyable_v<T> && (!std::is_same_v<T, std::string_view>)
  absl::StatusOr<SharedTensor<T>> Allocate(std::size_t count) {
    const std::size_t from = (used_ + kAlignment - 1) / kAlignment * kAlignment;  // used_ is at most the size
    const std::size_t left = from < size() ? size() - from : 0;
    if (count > left / sizeof(T)) {
      return detail::ResourceExhaustedError(detail::Cat("the shared-memory region '", name_, "' has ", left, " of ",
                                                        size(), " bytes left, too few for ", count, " elements of ",
                                                        sizeof(T)));
    }
    used_ = from + count * sizeof(T);
    auto* const elements = reinterpret_cast<T*>(bytes().data() + from);
    return SharedTensor<T>(mapping_, std::span<T>(elements, count), {name_, count * sizeof(T), from});
  }

  /// Puts strings there, as a BYTES tensor lies in memory.
  absl::StatusOr<InferInput> PlaceStrings(std::string name, std::span<const std::string> strings, Shape shape) {
    std::size_t size = 0;
    for (const std::string& element : strings) {
      if (element.size() > (std::numeric_limits<std::uint32_t>::max)()) {
        return detail::InvalidArgumentError(detail::Cat("input '", name, "': an element of ", element.size(),
                                                        " bytes; a BYTES element has at most 4294967295"));
      }
      size += 4 + element.size();
    }
    const absl::StatusOr<SharedTensor<std::byte>> room = Allocate<std::byte>(size);
    if (!room.ok()) return room.status();
    std::byte* to = room->elements().data();
    for (const std::string& element : strings) {
      const auto length = static_cast<std::uint32_t>(element.size());
      std::memcpy(to, &length, 4);
      std::memcpy(to + 4, element.data(), element.size());
      to += 4 + element.size();
    }
    return InferInput(std::move(name), room->placement(), DataType::kBytes, std::move(shape), mapping_);
  }

  /// All room is free again. Nothing may be under way that uses it.
  void Clear() { used_ = 0; }

 private:
  SharedMemoryRegion(std::string name, detail::SharedFile file, std::shared_ptr<const detail::SharedMapping> mapping)
      : name_(std::move(name)),
        origin_(detail::ProcessGeneration()),
        file_(std::move(file)),
        mapping_(std::move(mapping)) {}

  static absl::Status Check(const std::string& name, std::size_t bytes) {
    if (name.empty() || name.size() > 250 || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return detail::InvalidArgumentError(
          detail::Cat("'", name, "' names no shared-memory region; expected 1 to 250 bytes without a slash"));
    }
    constexpr auto kMost = static_cast<std::uint64_t>((std::numeric_limits<off_t>::max)());
    if (bytes > 0 && bytes <= kMost) return absl::OkStatus();
    return detail::InvalidArgumentError(
        detail::Cat("the shared-memory region '", name, "' of ", bytes, " bytes; expected 1 to ", kMost));
  }

  // Pages that were not reserved would end the process at their first use once the system has none left.
  static int Reserve(int file, std::size_t bytes) {
#if defined(__APPLE__)
    return ftruncate(file, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
#else
    int error = 0;
    do {
      error = posix_fallocate(file, 0, static_cast<off_t>(bytes));
    } while (error == EINTR);
    return error;
#endif
  }

  static absl::Status InUse(const std::string& name) {
    return detail::AlreadyExistsError(
        detail::Cat("the shared-memory region '", name, "' belongs to a process that runs, and is not replaced"));
  }
  static absl::Status Failed(std::string_view what, const std::string& name, std::size_t bytes, int error) {
    const std::string text = detail::Cat("cannot ", what, " the shared-memory region '", name, "' of ", bytes,
                                         " bytes: ", std::strerror(error));
    switch (error) {
      case EEXIST:
        return detail::AlreadyExistsError(
            detail::Cat(text,
                        ". Another process has it, or left it behind when it crashed: "
                        "SharedMemoryOptions::replace_abandoned = true replaces it in that case"));
      case EACCES:
      case EPERM:
        return detail::PermissionDeniedError(text);
      case EINVAL:
      case ENAMETOOLONG:
        return detail::InvalidArgumentError(text);
      case ENOSPC:
      case ENOMEM:
      case EFBIG:
      case EMFILE:
      case ENFILE:
        return detail::ResourceExhaustedError(text);
      default:
        return detail::InternalError(text);
    }
  }

  // A child of fork has a copy of what is its parent's; and by now the name may be another's.
  void Unlink() {
    if (!name_.empty() && origin_ == detail::ProcessGeneration() && file_.Is(key())) shm_unlink(key().c_str());
    name_.clear();
    file_ = detail::SharedFile();
  }

  std::string name_;
  std::uint32_t origin_;
  detail::SharedFile file_;  // whose lock tells others that its process lives
  std::shared_ptr<const detail::SharedMapping> mapping_;
  std::size_t used_ = 0;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_HAS_SHARED_MEMORY

#endif  // INFERWIRE_SHARED_MEMORY_H_
