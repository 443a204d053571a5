// SPDX-License-Identifier: Apache-2.0
//
// How many extra attempts a client may make in all: what keeps retries from burying servers that are already down.
#ifndef INFERWIRE_DETAIL_POLICY_BUDGET_H_
#define INFERWIRE_DETAIL_POLICY_BUDGET_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/options/retry_budget.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
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
        each_(Each(min_per_second)),
        filled_(now) {}

  /// For each call, once.
  void Deposit() {
    if (deposit_ == 0 || tokens_.load(std::memory_order_relaxed) >= capacity_) return;
    tokens_.fetch_add(deposit_, std::memory_order_relaxed);
  }

  /// For each extra attempt; false if there is no token for it. `whose` tells apart who takes from one budget, such as
  /// a method at a target: who has hardly taken any of late gets one in advance, of what time will bring, so that
  /// nobody can use up what is everybody's. `begun`: for what has had a part of its answer; it leaves half of the
  /// start, and gets none in advance but where it is modest too. 0 is nobody: never more are given to it than were put
  /// in.
  bool Withdraw(TimePoint now, std::size_t whose = 0, bool begun = false) {
    if (unlimited_) return true;
    Fill(now);
    if (whose == 0) return Take(kToken);
    std::lock_guard lock(mutex_);
    if (even_.size() >= kMostKnown) std::erase_if(even_, [&](const auto& one) { return one.second <= now; });
    if (even_.size() >= kMostKnown) even_.clear();
    TimePoint& even = even_[whose];
    const TimePoint after = (std::max)(even, now) + each_;
    const bool modest = per_second_ > 0 && after <= now + (std::max)(each_, kModest);
    if (!Take(begun && !modest ? kToken + start() / 2 : kToken) && !(modest && Take(kToken - start()))) return false;
    even = (std::min)(after, now + (std::max)(each_, kForgotten));
    return true;
  }

  /// What it holds, in tokens; for tests and measures.
  double available() const {
    const std::int64_t tokens = tokens_.load(std::memory_order_relaxed);
    return static_cast<double>((std::max)(tokens, std::int64_t{0})) / static_cast<double>(kToken);
  }

 private:
  static constexpr std::int64_t kToken = 1'000'000;
  static constexpr std::size_t kMostKnown = 1024;
  // Who takes a tenth of the minimum, in the mean of so long, is modest; and it is forgotten after so long what
  // somebody took beyond.
  static constexpr std::chrono::nanoseconds kModest = std::chrono::seconds(10), kForgotten = std::chrono::seconds(60);

  // One, where there are so many. It may leave a debt, which time pays before anything is given out again.
  bool Take(std::int64_t least) {
    std::int64_t tokens = tokens_.load(std::memory_order_relaxed);
    while (tokens >= least) {
      if (tokens_.compare_exchange_weak(tokens, tokens - kToken, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  std::int64_t start() const { return Saturated(static_cast<double>(per_second_) * 10); }
  // How long a tenth of the minimum takes to bring one.
  static std::chrono::nanoseconds Each(double min_per_second) {
    constexpr double kDay = 86400;
    return std::chrono::nanoseconds(
        static_cast<std::int64_t>(1e9 * (min_per_second > 10 / kDay ? 10 / min_per_second : kDay)));
  }
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
  const std::chrono::nanoseconds each_;
  std::atomic<TimePoint> filled_;
  std::mutex mutex_;
  std::unordered_map<std::size_t, TimePoint> even_;  // when they will have taken no more than a tenth
};

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_BUDGET_H_
