// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/retry.h"

#include <limits>
#include <string>

#include "support/catch.h"

using inferwire::CallInfo;
using inferwire::RetryPolicy;
using inferwire::StatusCodes;
using inferwire::TimePoint;
using inferwire::detail::policy::Budget;
using inferwire::detail::policy::Decision;
using inferwire::detail::policy::Failure;
using inferwire::detail::policy::Retry;
using inferwire::detail::policy::Validate;

namespace {
// One call's retries, with time at hand and a budget that is not in the way.
struct Bench {
  explicit Bench(RetryPolicy given = {}, bool idempotent = true)
      : policy(std::move(given)), retry(policy, budget, idempotent) {}
  Decision Fail(const Failure& failure = {}, absl::Duration remaining = absl::InfiniteDuration(), double unit = 0.5) {
    return retry.OnFailure(failure, remaining, unit, TimePoint());
  }
  const RetryPolicy policy;
  Budget budget{std::numeric_limits<double>::infinity(), 0, TimePoint()};
  Retry retry;
};
}  // namespace

TEST_CASE("a retryable failure is tried again until the attempts are used up", "[policy]") {
  Bench bench({.max_attempts = 3});
  CHECK(bench.Fail().retry);
  CHECK(bench.Fail().retry);
  const Decision last = bench.Fail();
  CHECK_FALSE(last.retry);
  CHECK(last.reason == CallInfo::Reason::kAttemptsExhausted);
}

TEST_CASE("a failure that another attempt would not change is permanent", "[policy]") {
  const Decision decision = Bench().Fail({.retryable = false});
  CHECK_FALSE(decision.retry);
  CHECK(decision.reason == CallInfo::Reason::kPermanent);
}

TEST_CASE("what is not idempotent is tried again only if no server saw it", "[policy]") {
  CHECK(Bench({}, /*idempotent=*/false).Fail().reason == CallInfo::Reason::kNotIdempotent);
  CHECK(Bench({}, /*idempotent=*/false).Fail({.reached_server = false}).retry);
}

TEST_CASE("no attempt is scheduled that the deadline leaves no time for", "[policy]") {
  Bench bench({.initial_backoff = absl::Milliseconds(100)});
  const Decision late = bench.Fail({}, absl::Milliseconds(50));
  CHECK_FALSE(late.retry);
  CHECK(late.reason == CallInfo::Reason::kDeadline);
  CHECK(bench.Fail({}, absl::ZeroDuration(), 0.0).reason == CallInfo::Reason::kDeadline);
}

TEST_CASE("a server that names a wait gets at least that, up to the maximum", "[policy]") {
  Bench bench({.initial_backoff = absl::Milliseconds(10), .max_pushback = absl::Seconds(3)});
  CHECK(bench.Fail({.pushback = absl::Seconds(2)}).delay >= absl::Seconds(2));
  CHECK(bench.Fail({.pushback = absl::Seconds(2)}).delay < absl::Seconds(2) + absl::Milliseconds(30));
  CHECK(bench.Fail({.pushback = absl::Hours(100)}).delay < absl::Seconds(3) + absl::Milliseconds(30));
}

TEST_CASE("a server that asks for more time than is left ends the call at once", "[policy]") {
  CHECK(Bench().Fail({.pushback = absl::Seconds(2)}, absl::Seconds(1)).reason == CallInfo::Reason::kDeadline);
}

TEST_CASE("a server that asks not to be tried again is not", "[policy]") {
  CHECK(Bench().Fail({.pushback = absl::Milliseconds(-1)}).reason == CallInfo::Reason::kPushback);
}

TEST_CASE("without budget there is no retry, and what is not retried costs no budget", "[policy]") {
  const RetryPolicy policy;
  Budget budget(0, 0.1, TimePoint());  // one token
  CHECK_FALSE(Retry(policy, budget, true).OnFailure({.retryable = false}, absl::Seconds(1), 0.5, TimePoint()).retry);
  CHECK_FALSE(Retry(policy, budget, true).OnFailure({}, absl::ZeroDuration(), 0.5, TimePoint()).retry);
  CHECK_FALSE(Retry(policy, budget, false).OnFailure({}, absl::Seconds(1), 0.5, TimePoint()).retry);
  CHECK(Retry(policy, budget, true).OnFailure({}, absl::Seconds(1), 0.5, TimePoint()).retry);
  CHECK(Retry(policy, budget, true).OnFailure({}, absl::Seconds(1), 0.5, TimePoint()).reason ==
        CallInfo::Reason::kBudgetExhausted);
}

TEST_CASE("a set of codes holds what it was given, and no code that does not exist", "[policy]") {
  constexpr StatusCodes codes = {absl::StatusCode::kUnavailable, absl::StatusCode::kAborted};
  CHECK(codes.contains(absl::StatusCode::kAborted));
  CHECK_FALSE(codes.contains(absl::StatusCode::kInternal));
  CHECK_FALSE(codes.contains(static_cast<absl::StatusCode>(-1)));
  CHECK_FALSE(codes.contains(static_cast<absl::StatusCode>(4711)));
}

TEST_CASE("a retry policy that makes no sense is refused by name", "[policy]") {
  CHECK(Validate(RetryPolicy{}).ok());
  CHECK(std::string(Validate(RetryPolicy{.max_attempts = 0}).message()).find("max_attempts is 0") != std::string::npos);
  CHECK(std::string(Validate(RetryPolicy{.backoff_multiplier = 0.5}).message()).find("backoff_multiplier is 0.5") !=
        std::string::npos);
  CHECK_FALSE(Validate(RetryPolicy{.backoff_multiplier = std::numeric_limits<double>::quiet_NaN()}).ok());
  CHECK(std::string(Validate(RetryPolicy{.initial_backoff = absl::Seconds(-1)}).message())
            .find("initial_backoff is -1s") != std::string::npos);
  CHECK_FALSE(Validate(RetryPolicy{.max_pushback = absl::Seconds(-1)}).ok());
}
