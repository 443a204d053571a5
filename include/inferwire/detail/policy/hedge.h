// SPDX-License-Identifier: Apache-2.0
//
// When a slow attempt gets company: a second one elsewhere, and the first good answer wins.
#ifndef INFERWIRE_DETAIL_POLICY_HEDGE_H_
#define INFERWIRE_DETAIL_POLICY_HEDGE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <optional>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/options/hedge_policy.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
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
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_HEDGE_H_
