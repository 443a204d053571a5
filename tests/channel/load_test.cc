// SPDX-License-Identifier: Apache-2.0
#include "inferwire/channel/load.h"

#include "support/catch.h"

using inferwire::TimePoint;
using inferwire::channel::Load;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);
}

TEST_CASE("a target nobody has tried is cheap for the first attempt and dear for the second", "[channel]") {
  Load load;
  CHECK(load.Cost(kStart) == 0);
  load.Begin(true);
  CHECK(load.Cost(kStart) > 1e8);
  load.End(true);
  CHECK(load.Cost(kStart) == 0);
}

TEST_CASE("of two targets that carry streams alone the one with fewer is cheaper, and neither is dear", "[channel]") {
  Load one, two;
  one.Begin(false);
  two.Begin(false);
  two.Begin(false);
  CHECK(one.Cost(kStart) < two.Cost(kStart));
  CHECK(two.Cost(kStart) < 1000);
}

TEST_CASE("the cost is the latency of late times those who wait", "[channel]") {
  Load load;
  load.Observe(absl::Milliseconds(4), kStart);
  CHECK(load.Cost(kStart) == Approx(4e6));
  load.Begin(true);
  load.Begin(true);
  CHECK(load.Cost(kStart) == Approx(12e6));
}

TEST_CASE("slower answers count at once, quicker ones by and by", "[channel]") {
  Load load;
  load.Observe(absl::Milliseconds(1), kStart);
  load.Observe(absl::Milliseconds(100), kStart);
  CHECK(load.Cost(kStart) == Approx(100e6));
  load.Observe(absl::Milliseconds(1), kStart + milliseconds(100));
  CHECK(load.Cost(kStart + milliseconds(100)) > 90e6);
  for (int i = 1; i <= 600; ++i) load.Observe(absl::Milliseconds(1), kStart + milliseconds(100 * i));
  CHECK(load.Cost(kStart + seconds(60)) < 2e6);
}

TEST_CASE("what was slow is forgotten by and by, so that it is tried again", "[channel]") {
  Load load;
  load.Observe(absl::Seconds(1), kStart);
  CHECK(load.Cost(kStart + seconds(60)) < 1e7);
}

TEST_CASE("a target that fails is avoided for a moment that grows, until it answers", "[channel]") {
  Load load;
  load.Failed(kStart);
  CHECK(load.Avoided(kStart + milliseconds(49)));
  CHECK_FALSE(load.Avoided(kStart + milliseconds(50)));
  load.Failed(kStart);
  CHECK(load.Avoided(kStart + milliseconds(99)));
  for (int i = 0; i < 40; ++i) load.Failed(kStart);
  CHECK(load.Avoided(kStart + milliseconds(499)));
  CHECK_FALSE(load.Avoided(kStart + milliseconds(500)));  // a restarted server is used soon
  CHECK(load.Cost(kStart) > 1e11);
  load.Answered();
  CHECK_FALSE(load.Avoided(kStart));
}
