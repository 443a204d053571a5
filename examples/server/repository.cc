// SPDX-License-Identifier: Apache-2.0
#include "server/repository.h"

#include <absl/strings/str_cat.h>

#include "server/text.h"

namespace inferwire::examples {

Repository::Repository(const ModelSet& models) : models_(models) {
  for (const std::string& name : models.names()) entries_.emplace(name, Entry{*models.Find(name), true, {}});
}

absl::StatusOr<const Model*> Repository::Find(const std::string& name, const std::string& version) const {
  absl::StatusOr<const Model*> model = models_.Find(name);
  if (!model.ok()) return model;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!entries_.at(name).loaded) {
      return absl::NotFoundError(absl::StrCat("model ", Quote(name), " has no available versions: it was unloaded"));
    }
  }
  if (version.empty() || version == kVersion) return model;
  return absl::NotFoundError(
      absl::StrCat("model ", Quote(name), " has no version ", Quote(version), "; there is version ", kVersion));
}

absl::Status Repository::SetLoaded(const std::string& name, bool loaded) {
  if (absl::Status status = models_.Find(name).status(); !status.ok()) return status;
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.at(name).loaded = loaded;
  return absl::OkStatus();
}

void Repository::Count(const std::string& name, bool succeeded, std::chrono::nanoseconds time) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Statistics& statistics = entries_.at(name).statistics;
  ++(succeeded ? statistics.succeeded : statistics.failed);
  (succeeded ? statistics.success_time : statistics.fail_time) += time;
  statistics.last = std::chrono::system_clock::now();
}

std::vector<Repository::Entry> Repository::Index() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Entry> out;
  for (const auto& [name, entry] : entries_) out.push_back(entry);
  return out;
}

}  // namespace inferwire::examples
