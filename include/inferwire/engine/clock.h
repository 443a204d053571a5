// SPDX-License-Identifier: Apache-2.0
//
// The engine's time: monotonic, and saturating where a duration is infinite.
#ifndef INFERWIRE_ENGINE_CLOCK_H_
#define INFERWIRE_ENGINE_CLOCK_H_

#include <absl/time/time.h>
#include <grpc/support/time.h>

#include <chrono>
#include <cstdint>

namespace inferwire {
inline namespace v0 {
namespace engine {

/// A point of the monotonic clock; `TimePoint::max()` is never.
using TimePoint = std::chrono::steady_clock::time_point;

inline TimePoint Now() { return std::chrono::steady_clock::now(); }

/// `from` + `wait`; never where the sum does not fit.
inline TimePoint After(TimePoint from, absl::Duration wait) {
  const absl::Duration left = absl::FromChrono(TimePoint::max() - from);
  return wait >= left ? TimePoint::max() : from + absl::ToChronoNanoseconds(wait);
}

inline absl::Duration Between(TimePoint from, TimePoint to) {
  return to == TimePoint::max() ? absl::InfiniteDuration() : absl::FromChrono(to - from);
}

/// `to` as gRPC takes it: as a span from now, so that no change of the wall clock moves it. Never negative.
inline gpr_timespec ToTimespec(TimePoint now, TimePoint to) {
  if (to == TimePoint::max()) return gpr_timespec{INT64_MAX, 0, GPR_CLOCK_MONOTONIC};
  const std::int64_t left = to <= now ? 0 : std::chrono::duration_cast<std::chrono::nanoseconds>(to - now).count();
  return gpr_timespec{left / 1'000'000'000, static_cast<std::int32_t>(left % 1'000'000'000), GPR_TIMESPAN};
}

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_CLOCK_H_
