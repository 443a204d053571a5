// SPDX-License-Identifier: Apache-2.0
//
// Whether a failed attempt is followed by another, and when.
#ifndef INFERWIRE_DETAIL_POLICY_RETRY_H_
#define INFERWIRE_DETAIL_POLICY_RETRY_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/policy/backoff.h"
#include "inferwire/detail/policy/budget.h"
#include "inferwire/options/retry_policy.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace policy {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const RetryPolicy& policy) {
  if (policy.max_attempts < 1) {
    return detail::InvalidArgumentError(
        detail::Cat("retry.max_attempts is ", policy.max_attempts, "; expected at least 1"));
  }
  const struct {
    const char* name;
    absl::Duration value;
  } durations[] = {{"initial_backoff", policy.initial_backoff},
                   {"max_backoff", policy.max_backoff},
                   {"max_pushback", policy.max_pushback}};
  for (const auto& [name, value] : durations) {
    if (value < absl::ZeroDuration()) {
      return detail::InvalidArgumentError(
          detail::Cat("retry.", name, " is ", absl::FormatDuration(value), "; expected no negative duration"));
    }
  }
  if (!(policy.backoff_multiplier >= 1.0)) {
    return detail::InvalidArgumentError(
        detail::Cat("retry.backoff_multiplier is ", policy.backoff_multiplier, "; expected at least 1"));
  }
  return absl::OkStatus();
}

/// One failed attempt, as far as the decision depends on it.
struct Failure {
  /// Whether another attempt may help: by the code, the predicate, or since the attempt's own timeout expired.
  bool retryable = true;
  /// False only where it is proven that no server saw it.
  bool reached_server = true;
  /// Whether another attempt was started in its place already.
  bool accompanied = false;
  /// Whether the server works, and it is perhaps by another request that it failed, which the next attempt is kept
  /// apart from: it happens once, and does not draw on the budget.
  bool anothers = false;
  /// Whether a part of the answer has come, and another attempt is for the rest.
  bool begun = false;
  /// Who draws on the budget; 0: nobody in particular.
  std::size_t whose = 0;
  /// How long the server asked to be left alone; negative: do not come back (gRFC A6).
  std::optional<absl::Duration> pushback = std::nullopt;
};

struct Decision {
  bool retry;
  absl::Duration delay;     ///< before the next attempt, if `retry`
  CallInfo::Reason reason;  ///< why not, if not `retry`
};

/// The retry state of one call. Pure: time and randomness come in as arguments.
class Retry {
 public:
  /// The policy and the budget outlive it.
  Retry(const RetryPolicy& policy, Budget& budget, bool idempotent)
      : backoff_(policy.initial_backoff, policy.max_backoff, policy.backoff_multiplier),
        max_pushback_(policy.max_pushback),
        steady_((std::max<absl::Duration>)(policy.max_backoff, absl::Seconds(1))),
        budget_(budget),
        most_(policy.max_attempts - 1),
        left_(most_),
        idempotent_(idempotent) {}

  /// `remaining` is what is left of the total deadline, `unit` is uniform in [0, 1).
  Decision OnFailure(const Failure& failure, absl::Duration remaining, double unit, TimePoint now) {
    if (remaining <= absl::ZeroDuration()) return Stop(CallInfo::Reason::kDeadline);
    if (!failure.retryable) return Stop(CallInfo::Reason::kPermanent);
    if (!idempotent_ && failure.reached_server) return Stop(CallInfo::Reason::kNotIdempotent);
    if (left_ <= 0) return Stop(CallInfo::Reason::kAttemptsExhausted);
    absl::Duration delay = backoff_.Next(unit);
    if (failure.pushback.has_value()) {
      if (*failure.pushback < absl::ZeroDuration()) return Stop(CallInfo::Reason::kPushback);
      // Not before the server wants it; the backoff's jitter on top keeps its clients apart.
      delay += (std::min)(*failure.pushback, max_pushback_);
    }
    if (failure.begun) {
      constexpr std::chrono::seconds kEach(1);
      next_ = (std::max)(next_, now - kAtOnce * kEach) + kEach;
      delay = (std::max)(delay, Between(now, next_));
    }
    if (delay >= remaining) return Stop(CallInfo::Reason::kDeadline);
    if (!failure.anothers && !budget_.Withdraw(now, failure.whose, failure.begun)) {
      return Stop(CallInfo::Reason::kBudgetExhausted);
    }
    --left_;
    return {true, delay, CallInfo::Reason::kNone};
  }
  /// An attempt that has `lasted` so long brought a message. One that lasts is as if nothing had failed yet; of those
  /// that soon break some messages make up for one. The wait grows all the same: a message is no licence.
  void ResetRetries(absl::Duration lasted) {
    if (lasted >= steady_) {
      left_ = most_;
      backoff_.Restart();
    } else if (++messages_ % kMessagesEach == 0) {
      left_ = (std::min)(most_, left_ + 1);
    }
  }

 private:
  static constexpr int kMessagesEach = 4;
  // What has begun goes on so often at once, and once a second from then on, whatever the policy's waits are.
  static constexpr int kAtOnce = 16;

  static Decision Stop(CallInfo::Reason reason) { return {false, absl::ZeroDuration(), reason}; }

  Backoff backoff_;
  absl::Duration max_pushback_;
  const absl::Duration steady_;  // what an attempt lasts that is none of those that break at once
  Budget& budget_;
  const int most_;
  int left_;
  int messages_ = 0;
  TimePoint next_ = TimePoint::min() + std::chrono::hours(1);
  bool idempotent_;
};

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_RETRY_H_
