// SPDX-License-Identifier: Apache-2.0
//
// Time as the client counts it: monotonic, saturating where a duration is infinite, and replaceable in tests.
#ifndef INFERWIRE_CLOCK_H_
#define INFERWIRE_CLOCK_H_

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include <chrono>
#include <type_traits>

namespace inferwire {
inline namespace v0 {

/// A point of the monotonic clock; `TimePoint::max()` is never.
using TimePoint = std::chrono::steady_clock::time_point;

/// `from` + `wait`; never where the sum does not fit.
inline TimePoint After(TimePoint from, absl::Duration wait) {
  const absl::Duration left = absl::FromChrono(TimePoint::max() - from);
  return wait >= left ? TimePoint::max() : from + absl::ToChronoNanoseconds(wait);
}

inline absl::Duration Between(TimePoint from, TimePoint to) {
  return to == TimePoint::max() ? absl::InfiniteDuration() : absl::FromChrono(to - from);
}

/// What a client takes its time from where that is not the machine's: testing::FakeClock. Safe from any thread. What
/// its functions throw ends the calls that asked with INTERNAL.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  /// Has `ring` called, once, when the time is `at`; whatever was set for `key` before is forgotten. `TimePoint::max()`
  /// only forgets. `ring` does not call back into the clock.
  virtual void SetAlarm(const void* key, TimePoint at, absl::AnyInvocable<void()> ring) = 0;
};

namespace detail {

template <class T>
consteval bool RefuseTime() {
  static_assert(std::is_same_v<T, void>,
                "inferwire: a time is an absl::Duration, such as absl::Seconds(5); one of std::chrono becomes one by "
                "absl::FromChrono");
  return true;
}

}  // namespace detail

/// A time in options: an absl::Duration, that says so where something else is given.
class Duration : public absl::Duration {
 public:
  constexpr Duration() = default;
  constexpr Duration(absl::Duration given) : absl::Duration(given) {}  // NOLINT: meant to be implicit
  // Refused while the constructor is being chosen, so that the error leads to the line that gave the time, also through
  // a std::optional; and not in the body, where g++ names only the line in <optional>.
  template <class T>
    requires((std::is_arithmetic_v<T> || requires { typename T::period; }) && detail::RefuseTime<T>())
  Duration(T) {}  // NOLINT: meant to be implicit
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CLOCK_H_
