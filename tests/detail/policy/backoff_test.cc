// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/backoff.h"

#include <array>
#include <cstddef>
#include <random>

#include "support/catch.h"

using inferwire::detail::policy::Backoff;

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

TEST_CASE("the bounds of backoff never fall and every wait is below its bound", "[policy]") {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> unit(0, 1), factor(1, 4);
  std::uniform_int_distribution<int> ms(0, 5000);
  for (int i = 0; i < 2000; ++i) {
    const absl::Duration initial = absl::Milliseconds(ms(generator)), max = absl::Milliseconds(ms(generator));
    const double multiplier = factor(generator);
    Backoff bounds(initial, max, multiplier), waits(initial, max, multiplier);
    absl::Duration last = absl::ZeroDuration();
    for (int retry = 0; retry < 12; ++retry) {
      const absl::Duration bound = bounds.Next(1.0), wait = waits.Next(unit(generator));
      REQUIRE(bound >= last);
      REQUIRE(bound <= max);
      REQUIRE(wait >= absl::ZeroDuration());
      REQUIRE(wait <= bound);
      last = bound;
    }
  }
}

TEST_CASE("the jitter is spread evenly over the whole wait", "[policy]") {
  std::mt19937 generator(11);
  std::uniform_real_distribution<double> unit(0, 1);
  std::array<int, 10> tenths{};
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    Backoff backoff(absl::Milliseconds(100), absl::Seconds(1), 2.0);
    const double share = absl::FDivDuration(backoff.Next(unit(generator)), absl::Milliseconds(100));
    ++tenths[static_cast<std::size_t>(share * 10)];
  }
  // Chi-squared over ten bins: 27.9 is exceeded by chance once in a thousand.
  double chi = 0;
  for (const int count : tenths) chi += (count - kDraws / 10.0) * (count - kDraws / 10.0) / (kDraws / 10.0);
  CHECK(chi < 27.9);
}
