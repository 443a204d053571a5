// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/budget.h"

#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.h"

using inferwire::RetryBudget;
using inferwire::TimePoint;
using inferwire::detail::policy::Budget;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
int Drain(Budget& budget, TimePoint now) {
  int count = 0;
  while (count < 1'000'000 && budget.Withdraw(now)) ++count;
  return count;
}
}  // namespace

TEST_CASE("a budget starts with ten seconds' worth of its minimum", "[policy]") {
  Budget budget(0.1, 2, TimePoint());
  CHECK(Drain(budget, TimePoint()) == 20);
}

TEST_CASE("calls bring their ratio, and time brings the minimum", "[policy]") {
  Budget budget(0.25, 2, TimePoint());
  Drain(budget, TimePoint());
  for (int i = 0; i < 40; ++i) budget.Deposit();
  CHECK(Drain(budget, TimePoint()) == 10);
  CHECK(Drain(budget, TimePoint() + seconds(3)) == 6);
}

TEST_CASE("time asked about in tiny steps is not lost", "[policy]") {
  Budget budget(0, 1, TimePoint());
  TimePoint now;
  Drain(budget, now);
  int granted = 0;
  for (int i = 0; i < 10'000; ++i) {
    now += milliseconds(1);
    if (budget.Withdraw(now)) ++granted;
  }
  CHECK(granted >= 9);
  CHECK(granted <= 10);
}

TEST_CASE("a quiet day does not save up for a storm", "[policy]") {
  Budget budget(0.1, 2, TimePoint());
  for (int i = 0; i < 1'000'000; ++i) budget.Deposit();
  CHECK(Drain(budget, TimePoint() + std::chrono::hours(24)) <= 121);  // ten seconds and a thousand calls
}

TEST_CASE("no ratio and no minimum means no retries; an infinite ratio means no bound", "[policy]") {
  Budget none(0, 0, TimePoint());
  none.Deposit();
  CHECK_FALSE(none.Withdraw(TimePoint() + seconds(1000)));
  Budget all(std::numeric_limits<double>::infinity(), 0, TimePoint());
  CHECK(Drain(all, TimePoint()) == 1'000'000);
}

TEST_CASE("with every server down the load stays within the promise, whatever the pattern", "[policy]") {
  std::mt19937 generator(3);
  for (const double ratio : {0.0, 0.1, 0.5, 1.0}) {
    for (const double minimum : {0.0, 2.0, 50.0}) {
      Budget budget(ratio, minimum, TimePoint());
      TimePoint now;
      int calls = 0, attempts = 0;
      std::uniform_int_distribution<int> step_us(0, 20'000);
      for (int i = 0; i < 20'000; ++i) {
        now += std::chrono::microseconds(step_us(generator));
        ++calls;
        ++attempts;
        budget.Deposit();
        for (int retry = 0; retry < 3 && budget.Withdraw(now); ++retry) ++attempts;
        const double elapsed = std::chrono::duration<double>(now - TimePoint()).count();
        REQUIRE(attempts <= (1 + ratio) * calls + minimum * (elapsed + 10) + 1e-6);
      }
      if (ratio > 0) CHECK(attempts > calls * (1 + ratio * 0.9));  // and the promise is used
    }
  }
}

TEST_CASE("threads together never withdraw more than was put in", "[policy]") {
  Budget budget(0.5, 0, TimePoint());
  std::atomic<int> granted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        budget.Deposit();
        if (budget.Withdraw(TimePoint())) ++granted;
        if (budget.Withdraw(TimePoint())) ++granted;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(granted + static_cast<int>(budget.available()) <= 20'000);
  CHECK(granted >= 19'000);
}

TEST_CASE("a budget that makes no sense is refused by name", "[policy]") {
  using inferwire::detail::policy::Validate;
  CHECK(Validate(RetryBudget{}).ok());
  CHECK(Validate(RetryBudget{.ratio = std::numeric_limits<double>::infinity()}).ok());
  CHECK(std::string(Validate(RetryBudget{.ratio = -1}).message()).find("ratio is -1") != std::string::npos);
  CHECK_FALSE(Validate(RetryBudget{.ratio = std::numeric_limits<double>::quiet_NaN()}).ok());
  CHECK_FALSE(Validate(RetryBudget{.min_per_second = -0.1}).ok());
  CHECK_FALSE(Validate(RetryBudget{.min_per_second = std::numeric_limits<double>::infinity()}).ok());
}
