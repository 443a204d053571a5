// SPDX-License-Identifier: Apache-2.0
#include "inferwire/policy/hedge.h"

#include <limits>
#include <string>

#include "support/catch.h"

using inferwire::HedgePolicy;
using inferwire::policy::LatencyHistogram;
using inferwire::policy::Validate;

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

TEST_CASE("a hedge policy that makes no sense is refused by name", "[policy]") {
  CHECK(Validate(HedgePolicy{}).ok());
  CHECK(std::string(Validate(HedgePolicy{.max_hedges = 0}).message()).find("max_hedges is 0") != std::string::npos);
  CHECK(std::string(Validate(HedgePolicy{.max_ratio = 2}).message()).find("max_ratio is 2") != std::string::npos);
  CHECK_FALSE(Validate(HedgePolicy{.delay = absl::Seconds(-1)}).ok());
  CHECK_FALSE(Validate(HedgePolicy{.percentile = 95}).ok());
  CHECK_FALSE(Validate(HedgePolicy{.max_ratio = std::numeric_limits<double>::quiet_NaN()}).ok());
}
