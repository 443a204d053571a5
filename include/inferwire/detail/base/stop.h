// SPDX-License-Identifier: Apache-2.0
//
// How a wait in a coroutine heeds the coroutine's stop token.
#ifndef INFERWIRE_DETAIL_BASE_STOP_H_
#define INFERWIRE_DETAIL_BASE_STOP_H_

#include <concepts>
#include <coroutine>
#include <optional>
#include <stop_token>
#include <utility>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The stop token of a coroutine whose promise has one; of any other, one that never stops.
template <class Promise>
std::stop_token StopTokenOf(std::coroutine_handle<Promise> coroutine) {
  if constexpr (requires {
                  { coroutine.promise().stop_token() } -> std::convertible_to<std::stop_token>;
                }) {
    return coroutine.promise().stop_token();
  } else {
    return {};
  }
}

/// What is done when a coroutine is told to stop while it waits; part of the awaiter. `Fn` may find the coroutine
/// resumed, and itself destroyed, in the midst of what it does.
template <class Fn>
class OnStop {
 public:
  /// Before the coroutine may be resumed. Where the stop came first, `fn` runs here and now.
  template <class Promise>
  void Arm(std::coroutine_handle<Promise> coroutine, Fn fn) {
    std::stop_token stop = StopTokenOf(coroutine);
    if (stop.stop_possible()) callback_.emplace(std::move(stop), std::move(fn));
  }
  /// Waits for an `fn` that runs on another thread.
  void Disarm() { callback_.reset(); }

 private:
  std::optional<std::stop_callback<Fn>> callback_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_STOP_H_
