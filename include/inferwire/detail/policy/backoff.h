// SPDX-License-Identifier: Apache-2.0
//
// How long to wait before the next attempt: capped exponential backoff with full jitter.
#ifndef INFERWIRE_DETAIL_POLICY_BACKOFF_H_
#define INFERWIRE_DETAIL_POLICY_BACKOFF_H_

#include <absl/time/time.h>

#include <algorithm>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace policy {

/// A uniformly distributed wait in [0, min(max, initial * multiplier^n)) before retry n (counted from 0).
/// Full jitter keeps clients that failed together from coming back together (M. Brooker, "Exponential Backoff And
/// Jitter", AWS Architecture Blog, 2015). Pure: randomness comes in as `unit`, uniform in [0, 1).
class Backoff {
 public:
  Backoff(absl::Duration initial, absl::Duration max, double multiplier)
      : initial_((std::min)(initial, max)), ceiling_(initial_), max_(max), multiplier_(multiplier) {}

  absl::Duration Next(double unit) {
    const absl::Duration delay = ceiling_ * unit;
    ceiling_ = (std::min)(max_, ceiling_ * multiplier_);
    return delay;
  }
  void Restart() { ceiling_ = initial_; }

 private:
  absl::Duration initial_;
  absl::Duration ceiling_;
  absl::Duration max_;
  double multiplier_;
};

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_BACKOFF_H_
