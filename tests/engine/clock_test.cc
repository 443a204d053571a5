// SPDX-License-Identifier: Apache-2.0
#include "inferwire/engine/clock.h"

#include "support/catch.h"

namespace engine = inferwire::engine;
using engine::TimePoint;

TEST_CASE("time after an infinite or absurd duration is never", "[engine]") {
  const TimePoint now = engine::Now();
  CHECK(engine::After(now, absl::InfiniteDuration()) == TimePoint::max());
  CHECK(engine::After(now, absl::Hours(24 * 365 * 400)) == TimePoint::max());
  CHECK(engine::After(now, absl::Milliseconds(5)) == now + std::chrono::milliseconds(5));
  CHECK(engine::Between(now, TimePoint::max()) == absl::InfiniteDuration());
  CHECK(engine::Between(now, now + std::chrono::seconds(2)) == absl::Seconds(2));
}

TEST_CASE("gRPC gets spans, never negative, and its own infinity", "[engine]") {
  const TimePoint now = engine::Now();
  const gpr_timespec span = engine::ToTimespec(now, now + std::chrono::milliseconds(1500));
  CHECK(span.clock_type == GPR_TIMESPAN);
  CHECK(span.tv_sec == 1);
  CHECK(span.tv_nsec == 500'000'000);
  CHECK(engine::ToTimespec(now, now - std::chrono::seconds(5)).tv_sec == 0);
  CHECK(engine::ToTimespec(now, TimePoint::max()).tv_sec == INT64_MAX);
}
