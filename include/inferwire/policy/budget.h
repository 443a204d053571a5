// SPDX-License-Identifier: Apache-2.0
//
// How many extra attempts a client may make in all: what keeps retries from burying servers that are already down.
#ifndef INFERWIRE_POLICY_BUDGET_H_
#define INFERWIRE_POLICY_BUDGET_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

#include "inferwire/clock.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {

/// Bounds the retries of all calls of a client together. With every server down, the attempts made are at most
/// (1 + ratio) x calls + min_per_second x seconds + what was saved up before.
struct RetryBudget {
  /// What every call adds, in retries. Infinity lifts the budget; 0 leaves only the minimum.
  double ratio = 0.1;
  /// Added as time goes by, so that a client that seldom calls may retry too. The budget starts with ten seconds'
  /// worth.
  double min_per_second = 2;
};

namespace policy {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const RetryBudget& budget) {
  if (!(budget.ratio >= 0)) {
    return detail::InvalidArgumentError(
        detail::Cat("retry_budget.ratio is ", budget.ratio, "; expected 0 or more, infinity for no budget"));
  }
  if (!(budget.min_per_second >= 0 && std::isfinite(budget.min_per_second))) {
    return detail::InvalidArgumentError(
        detail::Cat("retry_budget.min_per_second is ", budget.min_per_second, "; expected 0 or more, and finite"));
  }
  return absl::OkStatus();
}

/// A token bucket (after the RetryBudget of Twitter's Finagle and the throttle of gRFC A6). One token is one extra
/// attempt. It holds at most what ten seconds and a thousand calls bring, so that a quiet day does not save up for a
/// storm. Safe from any thread, without locks: a call costs one addition.
class Budget {
 public:
  Budget(double ratio, double min_per_second, TimePoint now)
      : unlimited_(std::isinf(ratio)),
        deposit_(unlimited_ ? 0 : Units(ratio)),
        per_second_(Units(min_per_second)),
        capacity_(Saturated(static_cast<double>(per_second_) * 10 + static_cast<double>(deposit_) * 1000)),
        tokens_(Saturated(static_cast<double>(per_second_) * 10)),
        filled_(now) {}

  /// For each call, once.
  void Deposit() {
    if (deposit_ == 0 || tokens_.load(std::memory_order_relaxed) >= capacity_) return;
    tokens_.fetch_add(deposit_, std::memory_order_relaxed);
  }

  /// For each extra attempt; false if there is no token for it. Never more are given out than were put in.
  bool Withdraw(TimePoint now) {
    if (unlimited_) return true;
    Fill(now);
    std::int64_t tokens = tokens_.load(std::memory_order_relaxed);
    while (tokens >= kToken) {
      if (tokens_.compare_exchange_weak(tokens, tokens - kToken, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  /// What it holds, in tokens; for tests and measures.
  double available() const {
    return static_cast<double>(tokens_.load(std::memory_order_relaxed)) / static_cast<double>(kToken);
  }

 private:
  static constexpr std::int64_t kToken = 1'000'000;
  static std::int64_t Saturated(double units) {
    return static_cast<std::int64_t>((std::min)(units, 1e18));  // two of them still fit
  }
  static std::int64_t Units(double tokens) { return Saturated(tokens * static_cast<double>(kToken)); }

  void Fill(TimePoint now) {
    TimePoint filled = filled_.load(std::memory_order_relaxed);
    // Whoever moves the time forward adds what the time brought.
    while (now > filled) {
      const double seconds = std::chrono::duration<double>(now - filled).count();
      const std::int64_t brought = Saturated(static_cast<double>(per_second_) * seconds);
      if (brought == 0) return;  // nothing is lost: the time stays where it is
      if (!filled_.compare_exchange_weak(filled, now, std::memory_order_relaxed)) continue;
      const std::int64_t room = capacity_ - tokens_.load(std::memory_order_relaxed);
      if (room > 0) tokens_.fetch_add((std::min)(room, brought), std::memory_order_relaxed);
      return;
    }
  }

  const bool unlimited_;
  const std::int64_t deposit_, per_second_, capacity_;
  std::atomic<std::int64_t> tokens_;
  std::atomic<TimePoint> filled_;
};

}  // namespace policy
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_POLICY_BUDGET_H_
