// SPDX-License-Identifier: Apache-2.0
//
// When a slow attempt gets company: a second one elsewhere, and the first good answer wins.
#ifndef INFERWIRE_POLICY_HEDGE_H_
#define INFERWIRE_POLICY_HEDGE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <optional>

#include "inferwire/clock.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {

/// Extra attempts for calls that take long (J. Dean, L. Barroso, "The Tail at Scale", CACM 2013; gRFC A6). They cut the
/// tail where slowness is a server's moment of weakness, and cost load where everything is slow: hence the ratio.
/// Only for idempotent calls.
struct HedgePolicy {
  /// How long an attempt may stay unanswered before another is started beside it.
  Duration delay = absl::Milliseconds(50);
  /// Extra attempts of one call.
  int max_hedges = 1;
  /// Extra attempts of all calls, as a share of the calls.
  double max_ratio = 0.05;
  /// In place of `delay`, once a hundred calls of the method were answered: this quantile of their latencies, such as
  /// 0.95. The least wait is a millisecond.
  std::optional<double> percentile = std::nullopt;
};

namespace policy {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const HedgePolicy& policy) {
  if (policy.delay < absl::ZeroDuration()) {
    return detail::InvalidArgumentError(
        detail::Cat("hedge.delay is ", absl::FormatDuration(policy.delay), "; expected no negative duration"));
  }
  if (policy.max_hedges < 1 || policy.max_hedges > 8) {
    return detail::InvalidArgumentError(detail::Cat("hedge.max_hedges is ", policy.max_hedges, "; expected 1 to 8"));
  }
  if (!(policy.max_ratio > 0 && policy.max_ratio <= 1)) {
    return detail::InvalidArgumentError(
        detail::Cat("hedge.max_ratio is ", policy.max_ratio, "; expected more than 0, and at most 1"));
  }
  if (policy.percentile.has_value() && !(*policy.percentile > 0 && *policy.percentile < 1)) {
    return detail::InvalidArgumentError(
        detail::Cat("hedge.percentile is ", *policy.percentile, "; expected more than 0 and less than 1"));
  }
  return absl::OkStatus();
}

}  // namespace policy
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_POLICY_HEDGE_H_
