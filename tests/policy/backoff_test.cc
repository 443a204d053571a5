// SPDX-License-Identifier: Apache-2.0
#include "inferwire/policy/backoff.h"

#include "support/catch.h"

using inferwire::policy::Backoff;

TEST_CASE("backoff draws uniformly below a bound that grows by the multiplier up to the maximum", "[policy]") {
  Backoff backoff(absl::Milliseconds(20), absl::Milliseconds(70), 2.0);
  CHECK(backoff.Next(0.5) == absl::Milliseconds(10));
  CHECK(backoff.Next(0.5) == absl::Milliseconds(20));
  CHECK(backoff.Next(0.5) == absl::Milliseconds(35));
  CHECK(backoff.Next(0.5) == absl::Milliseconds(35));
  CHECK(backoff.Next(0.0) == absl::ZeroDuration());
}

TEST_CASE("backoff never exceeds the maximum, not even at first", "[policy]") {
  Backoff backoff(absl::Seconds(5), absl::Seconds(1), 1.5);
  for (int i = 0; i < 1000; ++i) REQUIRE(backoff.Next(0.999999) < absl::Seconds(1));
}
