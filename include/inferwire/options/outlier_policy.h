// SPDX-License-Identifier: Apache-2.0
//
// Which targets are left out for a while, since they fail where others do not.
#ifndef INFERWIRE_OPTIONS_OUTLIER_POLICY_H_
#define INFERWIRE_OPTIONS_OUTLIER_POLICY_H_

#include <absl/time/time.h>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {

/// When a target that answers with failures is ejected, and for how long (after gRFC A50). Failures are UNAVAILABLE,
/// UNKNOWN, INTERNAL, and time that ran out; a target that cannot be connected to is not ejected, but avoided for half
/// a second at most, so that a restarted server is used soon. With a single target nothing is ever ejected.
struct OutlierPolicy {
  int consecutive_failures = 5;               ///< so many in a row eject; 0 turns this off
  Duration ejection = absl::Seconds(1);       ///< the first time; twice as long the second time, and so on
  double failure_rate = 0.5;                  ///< a greater share of the calls in `window` ejects; 1 turns this off
  Duration window = absl::Seconds(10);        ///< over which `failure_rate` is taken
  int min_calls = 20;                         ///< in `window`, for `failure_rate` to count
  Duration max_ejection = absl::Seconds(30);  ///< the longest, and how long a target must be good to begin anew
  double max_ejected = 0.5;                   ///< the share of the targets that may be ejected at a time
  /// With a smaller share of the targets neither ejected nor unhealthy, both are ignored and all are used: better some
  /// errors than the few that are left buried. 0: only where none is left.
  double panic_threshold = 0;
  /// A target that was ejected, unhealthy, down, or is new among others takes its share by and by, from a tenth at
  /// first to all of it after so long: caches are cold, and many clients notice it at once. 0 turns this off.
  Duration slow_start = absl::Seconds(5);
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_OUTLIER_POLICY_H_
