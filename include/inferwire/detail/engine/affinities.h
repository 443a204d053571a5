// SPDX-License-Identifier: Apache-2.0
//
// What gateways answer to the keys by which calls are to stay together.
#ifndef INFERWIRE_DETAIL_ENGINE_AFFINITIES_H_
#define INFERWIRE_DETAIL_ENGINE_AFFINITIES_H_

#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Keys, and the tokens that stand for them; the latest of them. Safe from any thread.
class Affinities {
 public:
  static constexpr std::size_t kMaxKeys = 10000;
  static constexpr std::size_t kMaxBytes = 4096;  // of a token: what a server says is not kept at any length

  /// What goes out for a key: the token, or the key itself.
  std::string SentFor(const std::string& key) const {
    std::lock_guard lock(mutex_);
    const auto found = places_.find(key);
    return found != places_.end() ? found->second->second : key;
  }
  void Learn(const std::string& key, std::string token) {
    if (token.empty() || token.size() > kMaxBytes) return;
    std::lock_guard lock(mutex_);
    if (const auto found = places_.find(key); found != places_.end()) {
      found->second->second = std::move(token);
      latest_.splice(latest_.begin(), latest_, found->second);
      return;
    }
    latest_.emplace_front(key, std::move(token));
    places_.emplace(latest_.front().first, latest_.begin());
    if (latest_.size() <= kMaxKeys) return;
    places_.erase(latest_.back().first);
    latest_.pop_back();
  }

 private:
  using List = std::list<std::pair<std::string, std::string>>;

  mutable std::mutex mutex_;
  List latest_;  // the last one learnt first
  std::unordered_map<std::string_view, List::iterator> places_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_AFFINITIES_H_
