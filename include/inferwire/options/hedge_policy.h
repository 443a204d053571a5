// SPDX-License-Identifier: Apache-2.0
//
// When a slow attempt gets company.
#ifndef INFERWIRE_OPTIONS_HEDGE_POLICY_H_
#define INFERWIRE_OPTIONS_HEDGE_POLICY_H_

#include <absl/time/time.h>

#include <optional>

#include "inferwire/clock.h"

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

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_HEDGE_POLICY_H_
