// SPDX-License-Identifier: Apache-2.0
//
// The system shared memory that callers registered, by name: plain POSIX, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_SHARED_MEMORY_H_
#define INFERWIRE_EXAMPLES_SERVER_SHARED_MEMORY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

namespace inferwire::examples {

/// Safe from any thread.
class SharedMemory {
 public:
  struct Region {
    std::string key;
    std::uint64_t offset = 0;
    std::uint64_t byte_size = 0;
    std::shared_ptr<std::byte> data = nullptr;  // `byte_size` bytes, mapped as long as this lives
  };
  /// Bytes of a region that stay mapped as long as `owner` lives.
  struct View {
    std::span<std::byte> bytes;
    std::shared_ptr<const void> owner;
  };

  /// Maps `byte_size` bytes at `offset` of the object `key`. ALREADY_EXISTS for a name in use, NOT_FOUND for a key that
  /// cannot be opened, INVALID_ARGUMENT for a part that the object does not have.
  absl::Status Register(const std::string& name, const std::string& key, std::uint64_t offset, std::uint64_t byte_size);

  /// OK also for a name that is not known; empty: all. What is under way goes on with its memory.
  void Unregister(const std::string& name);

  /// The region of that name, or all where it is empty. NOT_FOUND for a name that is not known.
  absl::StatusOr<std::map<std::string, Region>> Status(const std::string& name) const;

  /// A part of a region. INVALID_ARGUMENT for a name that is not known, or a part it does not have.
  absl::StatusOr<View> Find(const std::string& name, std::int64_t offset, std::int64_t byte_size) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Region> regions_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_SHARED_MEMORY_H_
