// SPDX-License-Identifier: Apache-2.0
//
// Whether a failed attempt is followed by another, and when.
#ifndef INFERWIRE_POLICY_RETRY_H_
#define INFERWIRE_POLICY_RETRY_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <initializer_list>

#include "inferwire/detail/text.h"
#include "inferwire/policy/backoff.h"
#include "inferwire/status.h"

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

/// When a failed attempt is tried again. The defaults ride out a server's restart or a dropped connection without
/// adding noticeable load; the total deadline always has the last word.
struct RetryPolicy {
  int max_attempts = 4;                                     ///< the first one included; 1 turns retries off
  absl::Duration initial_backoff = absl::Milliseconds(20);  ///< upper bound of the first wait (full jitter)
  absl::Duration max_backoff = absl::Seconds(2);            ///< upper bound of every wait
  double backoff_multiplier = 1.6;                          ///< growth of the bound from one wait to the next, >= 1
  StatusCodes retryable_codes = {absl::StatusCode::kUnavailable};  ///< what may pass by itself
};

namespace policy {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const RetryPolicy& policy) {
  if (policy.max_attempts < 1) {
    return absl::InvalidArgumentError(
        detail::Cat("retry.max_attempts is ", policy.max_attempts, "; expected at least 1"));
  }
  if (policy.initial_backoff < absl::ZeroDuration() || policy.max_backoff < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(detail::Cat("retry backoffs are ", absl::FormatDuration(policy.initial_backoff),
                                                  " and ", absl::FormatDuration(policy.max_backoff),
                                                  "; expected no negative ones"));
  }
  if (!(policy.backoff_multiplier >= 1.0)) {
    return absl::InvalidArgumentError(
        detail::Cat("retry.backoff_multiplier is ", policy.backoff_multiplier, "; expected at least 1"));
  }
  return absl::OkStatus();
}

/// One failed attempt, as far as the decision depends on it.
struct Failure {
  absl::StatusCode code;
  bool attempt_timed_out;    ///< by its own CallOptions::attempt_timeout, with total time left
  bool final;                ///< nothing is to be repeated: a part of the reply was handed out, or the failure is local
  absl::Duration remaining;  ///< of the total deadline
};

struct Decision {
  bool retry;
  absl::Duration delay;     ///< before the next attempt, if `retry`
  CallInfo::Reason reason;  ///< why not, if not `retry`
};

/// The retry state of one call. Pure: time and randomness come in as arguments.
class Retry {
 public:
  Retry(const RetryPolicy& policy, bool idempotent)
      : backoff_(policy.initial_backoff, policy.max_backoff, policy.backoff_multiplier),
        codes_(policy.retryable_codes),
        left_(policy.max_attempts - 1),
        idempotent_(idempotent) {}

  /// `unit` is uniform in [0, 1).
  Decision OnFailure(const Failure& failure, double unit) {
    if (failure.remaining <= absl::ZeroDuration()) return Stop(CallInfo::Reason::kDeadline);
    if (failure.final || !(failure.attempt_timed_out || codes_.contains(failure.code)))
      return Stop(CallInfo::Reason::kPermanent);
    if (!idempotent_) return Stop(CallInfo::Reason::kNotIdempotent);
    if (left_ <= 0) return Stop(CallInfo::Reason::kAttemptsExhausted);
    const absl::Duration delay = backoff_.Next(unit);
    if (delay >= failure.remaining) return Stop(CallInfo::Reason::kDeadline);
    --left_;
    return {true, delay, CallInfo::Reason::kNone};
  }

 private:
  static Decision Stop(CallInfo::Reason reason) { return {false, absl::ZeroDuration(), reason}; }

  Backoff backoff_;
  StatusCodes codes_;
  int left_;
  bool idempotent_;
};

}  // namespace policy
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_POLICY_RETRY_H_
