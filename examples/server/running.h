// SPDX-License-Identifier: Apache-2.0
//
// Generations that are under way, by their ids, so that they can be aborted.
#ifndef INFERWIRE_EXAMPLES_SERVER_RUNNING_H_
#define INFERWIRE_EXAMPLES_SERVER_RUNNING_H_

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace inferwire::examples {

/// Safe from any thread.
class Running {
 public:
  /// One generation, for as long as it runs.
  class Entry {
   public:
    Entry(Running& running, std::string id) : running_(running) {
      const std::lock_guard<std::mutex> lock(running_.mutex_);
      place_ = running_.entries_.emplace(std::move(id), this);
    }
    ~Entry() {
      const std::lock_guard<std::mutex> lock(running_.mutex_);
      running_.entries_.erase(place_);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    bool aborted() const { return aborted_; }

   private:
    friend class Running;

    Running& running_;
    std::multimap<std::string, Entry*>::iterator place_;
    std::atomic<bool> aborted_{false};
  };

  /// All that have this id; it is no error if none has.
  void Abort(const std::string& id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto [begin, end] = entries_.equal_range(id);
    for (auto entry = begin; entry != end; ++entry) entry->second->aborted_ = true;
  }
  void AbortAll() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, entry] : entries_) entry->aborted_ = true;
  }

 private:
  std::mutex mutex_;
  std::multimap<std::string, Entry*> entries_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_RUNNING_H_
