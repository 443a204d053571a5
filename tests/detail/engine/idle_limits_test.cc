// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/idle_limits.h"

#include <absl/time/time.h>

#include <chrono>

#include "support/catch.h"

using inferwire::TimePoint;
using inferwire::detail::engine::IdleLimits;

namespace {
TimePoint LimitAt(int ms) { return TimePoint() + std::chrono::milliseconds(ms); }
}  // namespace

TEST_CASE("idle limits arm one timer, which looks at what is due", "[idle_limits]") {
  IdleLimits limits(absl::Milliseconds(100));
  CHECK(limits.Start(IdleLimits::kMessage, LimitAt(0)) == LimitAt(100));
  CHECK(!limits.Start(IdleLimits::kRoom, LimitAt(30)).has_value());     // the timer is armed
  CHECK(!limits.Start(IdleLimits::kMessage, LimitAt(60)).has_value());  // anew
  IdleLimits::Fired fired = limits.OnTimer(LimitAt(100));
  CHECK(!fired.expired.has_value());
  CHECK(fired.next == LimitAt(130));  // the writer's
  limits.Stop(IdleLimits::kRoom);
  fired = limits.OnTimer(LimitAt(130));
  CHECK(!fired.expired.has_value());
  CHECK(fired.next == LimitAt(160));
  fired = limits.OnTimer(LimitAt(160));
  CHECK(fired.expired == IdleLimits::kMessage);
}

TEST_CASE("idle limits for which nobody waits expire nobody", "[idle_limits]") {
  IdleLimits limits(absl::Milliseconds(100));
  CHECK(limits.Start(IdleLimits::kEnd, LimitAt(0)) == LimitAt(100));
  CHECK(limits.counts(IdleLimits::kEnd));
  limits.Stop(IdleLimits::kEnd);
  IdleLimits::Fired fired = limits.OnTimer(LimitAt(500));
  CHECK(!fired.expired.has_value());
  CHECK(!fired.next.has_value());
  CHECK(limits.Start(IdleLimits::kEnd, LimitAt(600)) == LimitAt(700));  // it is to be armed again
  fired = limits.OnTimer(LimitAt(700));
  CHECK(fired.expired == IdleLimits::kEnd);
}

TEST_CASE("an infinite idle limit counts nothing", "[idle_limits]") {
  IdleLimits limits(absl::InfiniteDuration());
  CHECK(!limits.Start(IdleLimits::kMessage, LimitAt(0)).has_value());
  CHECK(!limits.counts(IdleLimits::kMessage));
}
