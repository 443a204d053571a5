// SPDX-License-Identifier: Apache-2.0
//
// Which models are loaded, and what they did: plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_REPOSITORY_H_
#define INFERWIRE_EXAMPLES_SERVER_REPOSITORY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "server/models.h"

namespace inferwire::examples {

/// The models of a set, all of them loaded at first. Safe from any thread.
class Repository {
 public:
  /// Every model has this one version.
  static constexpr char kVersion[] = "1";

  struct Statistics {
    std::uint64_t succeeded = 0;
    std::uint64_t failed = 0;
    std::chrono::nanoseconds success_time{0};
    std::chrono::nanoseconds fail_time{0};
    std::chrono::system_clock::time_point last{};
  };
  struct Entry {
    const Model* model;
    bool loaded;
    Statistics statistics;
  };

  /// `models` outlives the repository.
  explicit Repository(const ModelSet& models);

  /// A model that is loaded; an empty version means the one there is. NOT_FOUND naming what there is.
  absl::StatusOr<const Model*> Find(const std::string& name, const std::string& version) const;

  /// NOT_FOUND for a name that the set does not have. OK where nothing was to be done.
  absl::Status SetLoaded(const std::string& name, bool loaded);

  void Count(const std::string& name, bool succeeded, std::chrono::nanoseconds time);

  /// All models, in the order of their names.
  std::vector<Entry> Index() const;

 private:
  const ModelSet& models_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_REPOSITORY_H_
