// SPDX-License-Identifier: Apache-2.0
#include "server/shared_memory.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "server/text.h"

namespace inferwire::examples {

absl::Status SharedMemory::Register(const std::string& name, const std::string& key, std::uint64_t offset,
                                    std::uint64_t byte_size) {
  if (name.empty()) return absl::InvalidArgumentError("expected a name for the shared memory, found none");
  const std::lock_guard<std::mutex> lock(mutex_);
  if (regions_.contains(name)) {
    return absl::AlreadyExistsError(absl::StrCat("the shared-memory region ", Quote(name), " is registered already"));
  }
  const int file = shm_open(key.c_str(), O_RDWR, 0);
  if (file < 0) {
    return absl::NotFoundError(absl::StrCat("cannot open the shared memory ", Quote(key), ": ", std::strerror(errno)));
  }
  struct stat facts{};
  const bool known = fstat(file, &facts) == 0 && facts.st_size > 0;
  const std::uint64_t size = known ? static_cast<std::uint64_t>(facts.st_size) : 0;
  if (byte_size == 0 || offset > size || byte_size > size - offset) {
    close(file);
    return absl::InvalidArgumentError(absl::StrCat("the shared memory ", Quote(key), " has ", size, " bytes; ",
                                                   byte_size, " at ", offset, " were given"));
  }
  // From the object's begin, since a mapping begins with a page.
  const std::uint64_t mapped = offset + byte_size;
  void* const data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const int error = errno;
  close(file);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot map ", mapped, " bytes of the shared memory ", Quote(key), ": ", std::strerror(error)));
  }
  const std::shared_ptr<std::byte> whole(static_cast<std::byte*>(data), [mapped](std::byte* p) { munmap(p, mapped); });
  regions_.emplace(name, Region{key, offset, byte_size, std::shared_ptr<std::byte>(whole, whole.get() + offset)});
  return absl::OkStatus();
}

void SharedMemory::Unregister(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (name.empty()) {
    regions_.clear();
  } else {
    regions_.erase(name);
  }
}

absl::StatusOr<std::map<std::string, SharedMemory::Region>> SharedMemory::Status(const std::string& name) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (name.empty()) return regions_;
  const auto found = regions_.find(name);
  if (found == regions_.end()) {
    return absl::NotFoundError(absl::StrCat("the shared-memory region ", Quote(name), " is not registered"));
  }
  return std::map<std::string, Region>{*found};
}

absl::StatusOr<SharedMemory::View> SharedMemory::Find(const std::string& name, std::int64_t offset,
                                                      std::int64_t byte_size) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = regions_.find(name);
  if (found == regions_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("the shared_memory_region ", Quote(name), " is not registered"));
  }
  const Region& region = found->second;
  const auto from = static_cast<std::uint64_t>(offset);
  const auto size = static_cast<std::uint64_t>(byte_size);
  if (offset < 0 || byte_size < 0 || from > region.byte_size || size > region.byte_size - from) {
    return absl::InvalidArgumentError(absl::StrCat("the shared_memory_region ", Quote(name), " has ", region.byte_size,
                                                   " bytes; ", byte_size, " at ", offset, " were asked for"));
  }
  return View{{region.data.get() + from, static_cast<std::size_t>(size)}, region.data};
}

}  // namespace inferwire::examples
