// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/outlier.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support/catch.h"

using inferwire::OutlierPolicy;
using inferwire::TimePoint;
using inferwire::detail::channel::Outlier;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);
// An attempt at the target, from its beginning.
struct Attempt {
  explicit Attempt(Outlier& at, TimePoint now = kStart) : outlier(&at) {
    entered = at.Enter(now, &probe);
    epoch = at.epoch();
  }
  bool Answer(TimePoint now) { return outlier->OnAnswer(now, epoch, probe); }
  bool Fail(TimePoint now, bool may_eject = true) {
    return outlier->OnFailure(now, epoch, probe, [&] { return may_eject; });
  }
  void Vanish() {
    if (probe) outlier->OnNoVerdict(epoch);
  }
  Outlier* outlier;
  bool probe = false, entered = false;
  std::uint32_t epoch = 0;
};
bool Enters(Outlier& outlier, TimePoint now) { return Attempt(outlier, now).entered; }
}  // namespace

TEST_CASE("failures in a row eject a target, an answer between them does not let it come to that", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 3};
  Outlier outlier(policy);
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(Attempt(outlier).Fail(kStart));
    CHECK_FALSE(Attempt(outlier).Fail(kStart));
    Attempt(outlier).Answer(kStart);
    if (i > 3) break;  // more would be too often
  }
  CHECK_FALSE(outlier.ejected());
  CHECK_FALSE(Attempt(outlier).Fail(kStart));
  CHECK_FALSE(Attempt(outlier).Fail(kStart));
  CHECK(Attempt(outlier).Fail(kStart));
  CHECK(outlier.ejected());
  CHECK_FALSE(Enters(outlier, kStart + milliseconds(999)));
}

TEST_CASE("a share of failures ejects a target, once there are calls enough to tell", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 0, .failure_rate = 0.5, .min_calls = 20};
  Outlier outlier(policy);
  for (int i = 0; i < 8; ++i) Attempt(outlier).Answer(kStart);
  for (int i = 0; i < 11; ++i) CHECK_FALSE(Attempt(outlier).Fail(kStart));
  CHECK(Attempt(outlier).Fail(kStart));  // 12 of 20
}

TEST_CASE("what failed long ago does not count", "[channel]") {
  const OutlierPolicy policy{
      .consecutive_failures = 0, .failure_rate = 0.5, .window = absl::Seconds(10), .min_calls = 4};
  Outlier outlier(policy);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(Attempt(outlier).Fail(kStart));
  for (int i = 0; i < 3; ++i) CHECK_FALSE(Attempt(outlier, kStart + seconds(11)).Fail(kStart + seconds(11)));
  CHECK(Attempt(outlier, kStart + seconds(11)).Fail(kStart + seconds(11)));
}

TEST_CASE("an ejection ends with a probe: one attempt, whose answer lets all in again", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  REQUIRE(Attempt(outlier).Fail(kStart));
  const TimePoint later = kStart + seconds(1);
  CHECK_FALSE(Enters(outlier, later - milliseconds(1)));
  Attempt probe(outlier, later);
  CHECK(probe.entered);
  CHECK(probe.probe);
  CHECK_FALSE(Enters(outlier, later));  // one only
  CHECK(probe.Answer(later));
  CHECK_FALSE(outlier.ejected());
  CHECK(Attempt(outlier, later).entered);
  CHECK_FALSE(Attempt(outlier, later).probe);
}

TEST_CASE("a probe that fails ejects for longer, up to the maximum", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1, .ejection = absl::Seconds(1), .max_ejection = absl::Seconds(3)};
  Outlier outlier(policy);
  TimePoint now = kStart;
  REQUIRE(Attempt(outlier, now).Fail(now));
  for (const int wait : {1, 2, 3, 3, 3}) {
    CHECK_FALSE(Enters(outlier, now + seconds(wait) - milliseconds(1)));
    now += seconds(wait);
    Attempt probe(outlier, now);
    REQUIRE(probe.entered);
    probe.Fail(now, false);  // the share was settled when it was ejected first
  }
  CHECK(outlier.ejected());
}

TEST_CASE("a probe without a verdict leaves the place to another", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  REQUIRE(Attempt(outlier).Fail(kStart));
  Attempt probe(outlier, kStart + seconds(1));
  REQUIRE(probe.entered);
  probe.Vanish();
  CHECK(Enters(outlier, kStart + seconds(1)));
}

TEST_CASE("stragglers of the time before an ejection change nothing", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  Attempt answered(outlier), failing(outlier), late(outlier);
  REQUIRE(Attempt(outlier).Fail(kStart));
  CHECK_FALSE(answered.Answer(kStart + milliseconds(10)));
  CHECK_FALSE(failing.Fail(kStart + milliseconds(10)));
  CHECK_FALSE(late.Answer(kStart + seconds(2)));  // of the server that was
  CHECK(outlier.ejected());
  CHECK(Enters(outlier, kStart + seconds(1)));
}

TEST_CASE("an older call that fails while the probe is out does not undo it, nor what it finds", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 2, .ejection = absl::Seconds(1)};
  Outlier outlier(policy);
  std::vector<Attempt> older(10, Attempt(outlier));
  for (int i = 0; i < 2; ++i) Attempt(outlier).Fail(kStart);
  REQUIRE(outlier.ejected());
  TimePoint now = kStart + seconds(1);
  Attempt probe(outlier, now);
  REQUIRE(probe.probe);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(older[static_cast<std::size_t>(i)].Fail(now));
  CHECK_FALSE(Enters(outlier, now));  // the probe is still out
  CHECK(probe.Answer(now + milliseconds(5)));
  CHECK_FALSE(outlier.ejected());
  for (int i = 3; i < 10; ++i) CHECK_FALSE(older[static_cast<std::size_t>(i)].Fail(now + milliseconds(6)));
  CHECK_FALSE(outlier.ejected());
  // They do not count in the window either, nor toward how long the next ejection takes.
  Attempt(outlier, now).Fail(now);
  CHECK_FALSE(outlier.ejected());
  Attempt(outlier, now).Fail(now);
  CHECK(outlier.ejected());
  CHECK_FALSE(Enters(outlier, now + seconds(2) - milliseconds(1)));
  CHECK(Enters(outlier, now + seconds(2)));
}

TEST_CASE("a probe of an earlier ejection that ends late is none of the next one's", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1, .ejection = absl::Seconds(1)};
  Outlier outlier(policy);
  REQUIRE(Attempt(outlier).Fail(kStart));
  Attempt other(outlier, kStart);  // sent there all the same, where all are bad
  TimePoint now = kStart + seconds(1);
  Attempt lost(outlier, now);
  REQUIRE(lost.probe);
  REQUIRE(other.Answer(now));
  REQUIRE(Attempt(outlier, now).Fail(now));
  now += seconds(2);
  Attempt probe(outlier, now);
  REQUIRE(probe.probe);
  lost.Vanish();
  CHECK_FALSE(Enters(outlier, now));
  CHECK_FALSE(lost.Fail(now));
  CHECK(probe.Answer(now));
}

TEST_CASE("a target that was good for long begins anew", "[channel]") {
  const OutlierPolicy policy{
      .consecutive_failures = 1, .ejection = absl::Seconds(1), .max_ejection = absl::Seconds(30)};
  Outlier outlier(policy);
  TimePoint now = kStart;
  for (int i = 0; i < 2; ++i) {
    Attempt(outlier, now).Fail(now);
    now += seconds(i + 1);
    REQUIRE(Attempt(outlier, now).Answer(now));
  }
  now += seconds(31);
  REQUIRE(Attempt(outlier, now).Fail(now));
  CHECK(Enters(outlier, now + seconds(1)));
}

TEST_CASE("a target that may not be ejected is not", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 1};
  Outlier outlier(policy);
  for (int i = 0; i < 100; ++i) CHECK_FALSE(Attempt(outlier).Fail(kStart, false));
  CHECK_FALSE(outlier.ejected());
}

TEST_CASE("whatever happens to a target, and in whatever order, it is let in again", "[channel]") {
  const OutlierPolicy policy{.consecutive_failures = 2, .min_calls = 5};
  std::mt19937 generator(4);
  for (int round = 0; round < 200; ++round) {
    Outlier outlier(policy);
    TimePoint now = kStart;
    std::vector<Attempt> out;  // on their way
    const auto end = [&](std::size_t which) {
      Attempt attempt = out[which];
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(which));
      const bool was_ejected = outlier.ejected();
      const bool old = attempt.epoch != outlier.epoch();
      const auto what = generator() % 4;
      if (what == 0) attempt.Answer(now);
      if (what == 1) attempt.Vanish();
      if (what > 1) attempt.Fail(now);
      // An attempt of the time before changes nothing, the probe's outcome decides.
      if (old) CHECK(outlier.ejected() == was_ejected);
      if (!old && attempt.probe && was_ejected) CHECK(outlier.ejected() == (what != 0));
    };
    for (int i = 0; i < 300; ++i) {
      now += milliseconds(generator() % 400);
      Attempt attempt(outlier, now);
      // Where all are bad one is sent there all the same.
      if (attempt.entered || generator() % 8 == 0) out.push_back(attempt);
      while (out.size() > generator() % 6) end(generator() % out.size());
    }
    while (!out.empty()) end(0);
    // Nobody is on the way any more: after the longest ejection there is room for one.
    CHECK(Enters(outlier, now + seconds(31)));
  }
}

TEST_CASE("an outlier policy that makes no sense is refused by name", "[channel]") {
  using inferwire::detail::channel::Validate;
  CHECK(Validate(OutlierPolicy{}).ok());
  CHECK(std::string(Validate(OutlierPolicy{.consecutive_failures = -1}).message()).find("consecutive_failures is -1") !=
        std::string::npos);
  CHECK_FALSE(Validate(OutlierPolicy{.ejection = absl::ZeroDuration()}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.ejection = absl::Minutes(1)}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.max_ejected = 2}).ok());
  CHECK_FALSE(Validate(OutlierPolicy{.failure_rate = std::numeric_limits<double>::quiet_NaN()}).ok());
}
