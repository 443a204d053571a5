// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/load.h"

#include <array>

#include "support/catch.h"

using inferwire::TimePoint;
using inferwire::detail::channel::Load;
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

TEST_CASE("one answer that is far off says little, several say much", "[channel]") {
  Load load;
  const auto latency = [&] { return load.Cost(kStart) / 1e6; };
  for (int i = 0; i < 20; ++i) load.Observe(absl::Milliseconds(1), kStart);
  load.Observe(absl::Seconds(10), kStart);
  CHECK(latency() < 1.2);
  for (int i = 0; i < 10; ++i) load.Observe(absl::Milliseconds(100), kStart);
  CHECK(latency() > 3);
  for (int i = 0; i < 100; ++i) load.Observe(absl::Milliseconds(100), kStart);
  CHECK(latency() == Approx(100).epsilon(0.01));
  for (int i = 0; i < 100; ++i) load.Observe(absl::Milliseconds(1), kStart);
  CHECK(latency() < 2);
  // After a while without any, the next one says it all.
  load.Observe(absl::Milliseconds(2), kStart + seconds(100));
  CHECK(load.Cost(kStart + seconds(100)) == Approx(2e6).epsilon(0.01));
}

TEST_CASE("of the first three answers the one in the middle counts, whatever their order", "[channel]") {
  for (const auto& order : {std::array{100, 1, 2}, std::array{1, 100, 2}, std::array{1, 2, 100}, std::array{2, 100, 1},
                            std::array{100, 2, 1}, std::array{2, 1, 100}}) {
    Load load;
    for (const int ms : order) load.Observe(absl::Milliseconds(ms), kStart);
    CHECK(load.Cost(kStart) == Approx(2e6));
  }
}

TEST_CASE("targets whose costs differ by no more than their answers do take turns", "[channel]") {
  const auto share = [](double a_ms, double b_ms, double spread) {
    Load a, b;
    int of_a = 0;
    for (int i = 0; i < 1000; ++i) {
      Load& better = Load::Better(i % 3 == 0 ? b : a, i % 3 == 0 ? a : b, kStart);
      better.TakeTurn(&better == &a ? b : a);
      of_a += &better == &a ? 1 : 0;
      const double off = 1 + spread * ((i * 7919) % 11 - 5) / 5.0;  // the same for both
      better.Observe(absl::Milliseconds((&better == &a ? a_ms : b_ms) * off), kStart);
    }
    return of_a / 1000.0;
  };
  CHECK(share(1, 1, 0) == Approx(0.5).margin(0.01));
  CHECK(share(1, 1.05, 0) == Approx(0.5).margin(0.01));
  CHECK(share(1.3, 1, 0) == Approx(0.5).margin(0.01));
  CHECK(share(1, 1.5, 0.9) == Approx(0.5).margin(0.1));
  CHECK(share(1, 2, 0) > 0.8);
  CHECK(share(2, 1, 0.3) < 0.2);
  CHECK(share(20, 1, 0.9) < 0.05);
  CHECK(share(20, 1, 0) > 0);  // it is tried again
}

TEST_CASE("the less busy of two is better, whosever turn it is, and one that has failed is worse than any",
          "[channel]") {
  Load a, b;
  for (int i = 0; i < 20; ++i) a.Observe(absl::Milliseconds(1), kStart);
  for (int i = 0; i < 20; ++i) b.Observe(absl::Milliseconds(1), kStart);
  for (int i = 0; i < 5; ++i) b.TakeTurn(a);
  a.Begin(true);
  CHECK(&Load::Better(a, b, kStart) == &b);
  b.Begin(true);
  CHECK(&Load::Better(a, b, kStart) == &a);
  a.Failed(kStart);
  CHECK(&Load::Better(a, b, kStart) == &b);
}

TEST_CASE("who was not taken for long is owed a few turns, and who passes its turn none", "[channel]") {
  Load a, b;
  for (int i = 0; i < 1000; ++i) a.TakeTurn(b);
  int in_a_row = 0;
  while (&Load::Better(a, b, kStart) == &b) {
    b.TakeTurn(a);
    ++in_a_row;
  }
  CHECK(in_a_row >= 10);
  CHECK(in_a_row < 50);
  for (int i = 0; i < 1000; ++i) a.TakeTurn(b);
  b.PassTurn(a);
  CHECK(&Load::Better(a, b, kStart) == &a);
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
  const auto before = load.epoch();
  load.Answered();
  CHECK_FALSE(load.Avoided(kStart));
  CHECK(load.epoch() != before);
}
