// SPDX-License-Identifier: Apache-2.0
//
// What users that are alike share for as long as one of them has it: connections, credentials.
#ifndef INFERWIRE_DETAIL_BASE_SHARED_BY_KEY_H_
#define INFERWIRE_DETAIL_BASE_SHARED_BY_KEY_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "inferwire/detail/base/process.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Those of this process, by everything that tells them apart, which is kept here: no secrets. Safe from any thread.
template <class T>
class SharedByKey {
 public:
  static SharedByKey& Instance() { return OfThisProcess<SharedByKey>(); }
  template <class Make>
  std::shared_ptr<T> Get(const std::string& key, Make make) {
    std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](const auto& entry) { return entry.second.expired(); });
    std::shared_ptr<T> shared = entries_[key].lock();
    if (shared == nullptr) entries_[key] = shared = make();
    return shared;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<T>> entries_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_SHARED_BY_KEY_H_
