// SPDX-License-Identifier: Apache-2.0
#include "inferwire/clock.h"

#include "support/catch.h"

using inferwire::After;
using inferwire::Between;
using inferwire::TimePoint;

TEST_CASE("time after an infinite or absurd duration is never", "[clock]") {
  const TimePoint now = std::chrono::steady_clock::now();
  CHECK(After(now, absl::InfiniteDuration()) == TimePoint::max());
  CHECK(After(now, absl::Hours(24 * 365 * 400)) == TimePoint::max());
  CHECK(After(now, absl::Milliseconds(5)) == now + std::chrono::milliseconds(5));
  CHECK(Between(now, TimePoint::max()) == absl::InfiniteDuration());
  CHECK(Between(now, now + std::chrono::seconds(2)) == absl::Seconds(2));
}
