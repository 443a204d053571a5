// SPDX-License-Identifier: Apache-2.0
#include "inferwire/channel/outlier.h"

#include <limits>
#include <random>
#include <string>

#include "support/catch.h"

using inferwire::OutlierPolicy;
using inferwire::TimePoint;
using inferwire::channel::Outlier;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);
bool Always() { return true; }
bool Never() { return false; }
bool Enters(Outlier& outlier, TimePoint now) {
  bool probe = false;
  return outlier.Enter(now, &probe);
}
}  // namespace

TEST_CASE("failures in a row eject a target, an answer between them does not let it come to that", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 3};
  Outlier outlier(policy);
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(outlier.OnFailure(kStart, Always));
    CHECK_FALSE(outlier.OnFailure(kStart, Always));
    outlier.OnAnswer(kStart);
    if (i > 3) break;  // more would be too often
  }
  CHECK_FALSE(outlier.ejected());
  CHECK_FALSE(outlier.OnFailure(kStart, Always));
  CHECK_FALSE(outlier.OnFailure(kStart, Always));
  CHECK(outlier.OnFailure(kStart, Always));
  CHECK(outlier.ejected());
  CHECK_FALSE(Enters(outlier, kStart + milliseconds(999)));
}

TEST_CASE("a share of failures ejects a target, once there are calls enough to tell", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 0, .failure_rate = 0.5, .min_calls = 20};
  Outlier outlier(policy);
  for (int i = 0; i < 8; ++i) outlier.OnAnswer(kStart);
  for (int i = 0; i < 11; ++i) CHECK_FALSE(outlier.OnFailure(kStart, Always));
  CHECK(outlier.OnFailure(kStart, Always));  // 12 of 20
}

TEST_CASE("what failed long ago does not count", "[channel]") {
  const OutlierPolicy policy{
      .consecutive_failures = 0, .failure_rate = 0.5, .window = absl::Seconds(10), .min_calls = 4};
  Outlier outlier(policy);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(outlier.OnFailure(kStart, Always));
  for (int i = 0; i < 3; ++i) CHECK_FALSE(outlier.OnFailure(kStart + seconds(11), Always));
  CHECK(outlier.OnFailure(kStart + seconds(11), Always));
}

TEST_CASE("an ejection ends with a probe: one attempt, whose answer lets all in again", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  REQUIRE(outlier.OnFailure(kStart, Always));
  const TimePoint later = kStart + seconds(1);
  CHECK_FALSE(Enters(outlier, later - milliseconds(1)));
  bool probe = false;
  CHECK(outlier.Enter(later, &probe));
  CHECK(probe);
  CHECK_FALSE(Enters(outlier, later));  // one only
  CHECK(outlier.OnAnswer(later));
  CHECK_FALSE(outlier.ejected());
  CHECK(outlier.Enter(later, &probe));
  CHECK_FALSE(probe);
}

TEST_CASE("a probe that fails ejects for longer, up to the maximum", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1, .ejection = absl::Seconds(1), .max_ejection = absl::Seconds(3)};
  Outlier outlier(policy);
  TimePoint now = kStart;
  REQUIRE(outlier.OnFailure(now, Always));
  for (const int wait : {1, 2, 3, 3, 3}) {
    CHECK_FALSE(Enters(outlier, now + seconds(wait) - milliseconds(1)));
    now += seconds(wait);
    REQUIRE(Enters(outlier, now));
    outlier.OnFailure(now, Never);  // the share was settled when it was ejected first
  }
  CHECK(outlier.ejected());
}

TEST_CASE("a probe without a verdict leaves the place to another", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  REQUIRE(outlier.OnFailure(kStart, Always));
  REQUIRE(Enters(outlier, kStart + seconds(1)));
  outlier.OnNoVerdict();
  CHECK(Enters(outlier, kStart + seconds(1)));
}

TEST_CASE("stragglers of the time before an ejection change nothing", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  REQUIRE(outlier.OnFailure(kStart, Always));
  CHECK_FALSE(outlier.OnAnswer(kStart + milliseconds(10)));
  CHECK_FALSE(outlier.OnFailure(kStart + milliseconds(10), Always));
  CHECK(outlier.ejected());
  CHECK(Enters(outlier, kStart + seconds(1)));
}

TEST_CASE("a target that was good for long begins anew", "[channel]") {
  const OutlierPolicy policy{
      .consecutive_failures = 1, .ejection = absl::Seconds(1), .max_ejection = absl::Seconds(30)};
  Outlier outlier(policy);
  TimePoint now = kStart;
  for (int i = 0; i < 2; ++i) {
    outlier.OnFailure(now, Always);
    now += seconds(i + 1);
    REQUIRE(Enters(outlier, now));
    REQUIRE(outlier.OnAnswer(now));
  }
  now += seconds(31);
  REQUIRE(outlier.OnFailure(now, Always));
  CHECK(Enters(outlier, now + seconds(1)));
}

TEST_CASE("a target that may not be ejected is not", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  for (int i = 0; i < 100; ++i) CHECK_FALSE(outlier.OnFailure(kStart, Never));
  CHECK_FALSE(outlier.ejected());
}

TEST_CASE("whatever happens to a target, it is let in again", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 2, .min_calls = 5};
  std::mt19937 generator(4);
  for (int round = 0; round < 200; ++round) {
    Outlier outlier(policy);
    TimePoint now = kStart;
    for (int i = 0; i < 200; ++i) {
      now += milliseconds(generator() % 700);
      bool probe = false;
      if (!outlier.Enter(now, &probe)) continue;
      const auto what = generator() % 4;
      if (what == 0) outlier.OnAnswer(now);
      if (what == 1 && probe) outlier.OnNoVerdict();
      if (what > 1 || (what == 1 && !probe)) outlier.OnFailure(now, Always);
    }
    // Nobody is on the way any more: after the longest ejection there is room for one.
    CHECK(Enters(outlier, now + seconds(31)));
  }
}

TEST_CASE("an outlier policy that makes no sense is refused by name", "[channel]") {
  using inferwire::channel::Validate;
  CHECK(Validate(OutlierPolicy{}).ok());
  CHECK(std::string(Validate(OutlierPolicy{.consecutive_failures = -1}).message()).find("consecutive_failures is -1") !=
        std::string::npos);
  CHECK_FALSE(Validate(OutlierPolicy{.ejection = absl::ZeroDuration()}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.ejection = absl::Minutes(1)}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.max_ejected = 2}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.failure_rate = std::numeric_limits<double>::quiet_NaN()}).ok());
}
