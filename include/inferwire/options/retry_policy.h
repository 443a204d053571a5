// SPDX-License-Identifier: Apache-2.0
//
// Whether a failed attempt is followed by another, and when.
#ifndef INFERWIRE_OPTIONS_RETRY_POLICY_H_
#define INFERWIRE_OPTIONS_RETRY_POLICY_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {

/// A set of status codes, small enough to copy per call.
class StatusCodes {
 public:
  constexpr StatusCodes(std::initializer_list<absl::StatusCode> codes) {
    for (absl::StatusCode code : codes) bits_ |= Bit(code);
  }
  constexpr bool contains(absl::StatusCode code) const { return (bits_ & Bit(code)) != 0; }

 private:
  static constexpr std::uint32_t Bit(absl::StatusCode code) {
    const int n = static_cast<int>(code);
    return n >= 0 && n < 32 ? std::uint32_t{1} << n : 0;
  }
  std::uint32_t bits_ = 0;
};

/// A function of a failed attempt's status, or none. Made from any that std::function<bool(const absl::Status&)> takes.
class RetryPredicate {
 public:
  using Function = std::function<bool(const absl::Status&)>;

  RetryPredicate(std::nullptr_t = nullptr) {}
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, RetryPredicate> && std::convertible_to<F, Function>)
  RetryPredicate(F&& function) : function_(std::forward<F>(function)) {}

  RetryPredicate(const RetryPredicate&) = default;
  RetryPredicate(RetryPredicate&&) = default;
  RetryPredicate& operator=(const RetryPredicate&) = default;
  RetryPredicate& operator=(RetryPredicate&&) = default;
  // GCC destroys the members of a braced struct within a braced struct twice where what follows them throws, notices at
  // -O3 that the second time reads what is gone, and warns wherever ClientOptions is written. This class is here to be
  // a place in which it does not.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
  ~RetryPredicate() {}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

  explicit operator bool() const { return function_ != nullptr; }
  bool operator()(const absl::Status& status) const { return function_(status); }

 private:
  Function function_;
};

/// When a failed attempt is tried again. The defaults ride out a server's restart or a dropped connection without
/// adding noticeable load; the total deadline and the client's RetryBudget always have the last word.
struct RetryPolicy {
  /// The first one included; 1 turns retries off. Of a stream that goes on where it broke: in a row.
  int max_attempts = 4;
  Duration initial_backoff = absl::Milliseconds(20);  ///< upper bound of the first wait (full jitter)
  Duration max_backoff = absl::Seconds(2);            ///< upper bound of every wait
  double backoff_multiplier = 1.6;                    ///< growth of the bound from one wait to the next, >= 1
  StatusCodes retryable_codes = {absl::StatusCode::kUnavailable};  ///< what may pass by itself
  /// Decides in place of `retryable_codes`, where it is set. Idempotency, attempts, budget and deadline still hold. It
  /// runs on a thread of the engine's that no other call waits for (of blocking calls, on the caller's), and must not
  /// wait for calls of the client. What it throws ends the call with INTERNAL.
  RetryPredicate retry_if = nullptr;
  /// The longest wait that a server may ask for, by the trailer grpc-retry-pushback-ms or by google.rpc.RetryInfo.
  Duration max_pushback = absl::Seconds(30);
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_RETRY_POLICY_H_
