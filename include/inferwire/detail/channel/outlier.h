// SPDX-License-Identifier: Apache-2.0
//
// Which targets are left out for a while, since they fail where others do not.
#ifndef INFERWIRE_DETAIL_CHANNEL_OUTLIER_H_
#define INFERWIRE_DETAIL_CHANNEL_OUTLIER_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/options/outlier_policy.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace channel {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const OutlierPolicy& policy) {
  if (policy.consecutive_failures < 0 || policy.min_calls < 1) {
    return detail::InvalidArgumentError(detail::Cat("outliers.consecutive_failures is ", policy.consecutive_failures,
                                                    " and min_calls ", policy.min_calls,
                                                    "; expected 0 or more, and 1 or more"));
  }
  if (policy.slow_start < absl::ZeroDuration()) {
    return detail::InvalidArgumentError(detail::Cat("outliers.slow_start is ", absl::FormatDuration(policy.slow_start),
                                                    "; expected no negative duration"));
  }
  if (policy.ejection <= absl::ZeroDuration() || policy.window <= absl::ZeroDuration() ||
      policy.max_ejection < policy.ejection) {
    return detail::InvalidArgumentError(detail::Cat(
        "outliers.ejection is ", absl::FormatDuration(policy.ejection), ", window ",
        absl::FormatDuration(policy.window), " and max_ejection ", absl::FormatDuration(policy.max_ejection),
        "; expected positive durations, and max_ejection no shorter than ejection"));
  }
  for (const double share : {policy.failure_rate, policy.max_ejected, policy.panic_threshold}) {
    if (!(share >= 0 && share <= 1)) {
      return detail::InvalidArgumentError(
          detail::Cat("outliers.failure_rate, max_ejected or panic_threshold is ", share, "; expected 0 to 1"));
    }
  }
  return absl::OkStatus();
}

/// One target's circuit breaker: closed, ejected, then half open for a single attempt whose outcome decides. Pure: time
/// comes in as an argument, and whether one more may be ejected as a function. Safe from any thread; what a pick asks,
/// and what a success in good times tells, takes no lock.
///
/// Every ejection and every end of one begins an epoch, and what became of an attempt tells of the epoch in which it
/// began: a call that was swallowed before an ejection may end long after the target has recovered.
class Outlier {
 public:
  /// The policy outlives it.
  explicit Outlier(const OutlierPolicy& policy) : policy_(policy) {}

  bool ejected() const { return ejected_until_.load(std::memory_order_acquire) != kClosed; }
  /// For an attempt that begins now.
  std::uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  /// An attempt that goes there; false if another one was quicker to be the probe. True for `probe` where it is the
  /// one.
  bool Enter(TimePoint now, bool* probe) {
    *probe = false;
    const TimePoint until = ejected_until_.load(std::memory_order_acquire);
    if (until == kClosed) return true;
    if (now < until || probing_.exchange(true)) return false;
    *probe = true;
    return true;
  }

  /// An attempt that began in `epoch` was answered. `probe`: whether Enter said that it was the one. True where that
  /// ended an ejection.
  bool OnAnswer(TimePoint now, std::uint32_t epoch, bool probe) {
    if (epoch != this->epoch()) return false;
    calls_.fetch_add(1, std::memory_order_relaxed);
    if (consecutive_.load(std::memory_order_relaxed) != 0) consecutive_.store(0, std::memory_order_relaxed);
    if (!ejected()) return false;
    std::lock_guard lock(mutex_);
    // One that was sent there all the same, where all are bad, may be quicker than the ejection.
    if (epoch != this->epoch() || (!probe && now < ejected_until_.load(std::memory_order_relaxed))) return false;
    closed_at_ = now;
    calls_ = failures_ = 0;
    window_start_ = now;
    epoch_.fetch_add(1, std::memory_order_acq_rel);
    ejected_until_.store(kClosed, std::memory_order_release);
    probing_ = false;
    return true;
  }
  /// It failed. `may_eject` is asked, once, if that is reason enough; true where the target was ejected by it.
  template <class MayEject>
  bool OnFailure(TimePoint now, std::uint32_t epoch, bool probe, MayEject may_eject) {
    std::lock_guard lock(mutex_);
    if (epoch != this->epoch()) return false;
    if (ejected()) {
      if (probe) Eject(now);
      return false;
    }
    if (window_start_ == kClosed) window_start_ = now;  // answers may have come before
    if (now - window_start_ > absl::ToChronoNanoseconds(policy_.window)) {
      window_start_ = now;
      calls_ = failures_ = 0;
    }
    const int calls = ++calls_;
    const int failures = ++failures_;
    const int consecutive = ++consecutive_;
    const bool in_a_row = policy_.consecutive_failures > 0 && consecutive >= policy_.consecutive_failures;
    const bool too_often =
        calls >= policy_.min_calls && static_cast<double>(failures) > policy_.failure_rate * static_cast<double>(calls);
    if (!(in_a_row || too_often) || !may_eject()) return false;
    if (closed_at_ == kClosed || now - closed_at_ > absl::ToChronoNanoseconds(policy_.max_ejection)) times_ = 0;
    Eject(now);
    return true;
  }
  /// The probe ended without a verdict: cancelled, say.
  void OnNoVerdict(std::uint32_t epoch) {
    std::lock_guard lock(mutex_);
    if (epoch == this->epoch()) probing_ = false;
  }

 private:
  static constexpr TimePoint kClosed = TimePoint::min();

  void Eject(TimePoint now) {
    ++times_;
    consecutive_ = 0;
    const absl::Duration wait = (std::min<absl::Duration>)(policy_.ejection * times_, policy_.max_ejection);
    epoch_.fetch_add(1, std::memory_order_acq_rel);
    ejected_until_.store(After(now, wait), std::memory_order_release);
    probing_ = false;
  }

  const OutlierPolicy& policy_;
  std::atomic<TimePoint> ejected_until_{kClosed};
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<bool> probing_{false};
  std::atomic<int> consecutive_{0}, calls_{0}, failures_{0};
  std::mutex mutex_;  // of what follows, and of changes of state
  int times_ = 0;
  TimePoint closed_at_ = kClosed;
  TimePoint window_start_ = kClosed;
};

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_OUTLIER_H_
