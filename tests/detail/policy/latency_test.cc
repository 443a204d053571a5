// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/latency.h"

#include <limits>
#include <string>

#include "support/catch.h"

using inferwire::detail::policy::LatencyHistogram;

TEST_CASE("a quantile is not told before there are a hundred samples", "[policy]") {
  LatencyHistogram latencies;
  for (int i = 0; i < 99; ++i) latencies.Add(absl::Milliseconds(1));
  CHECK_FALSE(latencies.Quantile(0.5).has_value());
  latencies.Add(absl::Milliseconds(1));
  CHECK(latencies.Quantile(0.5).has_value());
}

TEST_CASE("a quantile is never too low and too high by an eighth at most", "[policy]") {
  for (const int scale : {1, 17, 1000, 250'000}) {
    LatencyHistogram latencies;
    for (int i = 1; i <= 1000; ++i) latencies.Add(absl::Microseconds(i * scale));
    for (const double quantile : {0.01, 0.5, 0.9, 0.95, 0.99}) {
      const double truth = quantile * 1000 * scale;
      const double told = absl::ToDoubleMicroseconds(*latencies.Quantile(quantile));
      CHECK(told >= truth * 0.999);
      CHECK(told <= truth * 1.126 + 1);
    }
  }
}

TEST_CASE("old latencies fade", "[policy]") {
  LatencyHistogram latencies;
  for (int i = 0; i < 4000; ++i) latencies.Add(absl::Seconds(1));
  for (int i = 0; i < 20'000; ++i) latencies.Add(absl::Milliseconds(1));
  CHECK(*latencies.Quantile(0.9) < absl::Milliseconds(2));
}

TEST_CASE("absurd latencies are counted too", "[policy]") {
  LatencyHistogram latencies;
  for (int i = 0; i < 100; ++i) latencies.Add(i % 2 == 0 ? absl::InfiniteDuration() : -absl::Seconds(5));
  CHECK(*latencies.Quantile(0.4) <= absl::Microseconds(2));
  CHECK(*latencies.Quantile(0.9) > absl::Hours(1));
}
