// SPDX-License-Identifier: Apache-2.0
#include "inferwire/policy/retry.h"

#include <limits>
#include <string>

#include "support/catch.h"

using inferwire::CallInfo;
using inferwire::RetryPolicy;
using inferwire::StatusCodes;
using inferwire::policy::Decision;
using inferwire::policy::Failure;
using inferwire::policy::Retry;
using inferwire::policy::Validate;

namespace {
Failure Unavailable(absl::Duration remaining = absl::InfiniteDuration()) {
  return {absl::StatusCode::kUnavailable, /*attempt_timed_out=*/false, /*final=*/false, remaining};
}
}  // namespace

TEST_CASE("a retryable failure is tried again until the attempts are used up", "[policy]") {
  Retry retry(RetryPolicy{.max_attempts = 3}, /*idempotent=*/true);
  CHECK(retry.OnFailure(Unavailable(), 0.5).retry);
  CHECK(retry.OnFailure(Unavailable(), 0.5).retry);
  const Decision last = retry.OnFailure(Unavailable(), 0.5);
  CHECK_FALSE(last.retry);
  CHECK(last.reason == CallInfo::Reason::kAttemptsExhausted);
}

TEST_CASE("a code that is not retryable is permanent", "[policy]") {
  Retry retry(RetryPolicy{}, true);
  const Decision decision =
      retry.OnFailure({absl::StatusCode::kInvalidArgument, false, false, absl::InfiniteDuration()}, 0.5);
  CHECK_FALSE(decision.retry);
  CHECK(decision.reason == CallInfo::Reason::kPermanent);
}

TEST_CASE("what is not idempotent is not tried again, and says so", "[policy]") {
  Retry retry(RetryPolicy{}, /*idempotent=*/false);
  CHECK(retry.OnFailure(Unavailable(), 0.5).reason == CallInfo::Reason::kNotIdempotent);
}

TEST_CASE("an attempt's own timeout is tried again although its code is not in the list", "[policy]") {
  Retry retry(RetryPolicy{}, true);
  CHECK(retry.OnFailure({absl::StatusCode::kDeadlineExceeded, /*attempt_timed_out=*/true, false, absl::Seconds(1)}, 0.5)
            .retry);
  CHECK_FALSE(retry.OnFailure({absl::StatusCode::kDeadlineExceeded, false, false, absl::Seconds(1)}, 0.5).retry);
}

TEST_CASE("no attempt is scheduled that the deadline leaves no time for", "[policy]") {
  Retry retry(RetryPolicy{.initial_backoff = absl::Milliseconds(100)}, true);
  const Decision late = retry.OnFailure(Unavailable(absl::Milliseconds(50)), 0.5);
  CHECK_FALSE(late.retry);
  CHECK(late.reason == CallInfo::Reason::kDeadline);
  const Decision over = retry.OnFailure(Unavailable(absl::ZeroDuration()), 0.0);
  CHECK(over.reason == CallInfo::Reason::kDeadline);
}

TEST_CASE("nothing is tried again once a part of the reply was handed out", "[policy]") {
  Retry retry(RetryPolicy{}, true);
  CHECK(
      retry.OnFailure({absl::StatusCode::kUnavailable, false, /*final=*/true, absl::InfiniteDuration()}, 0.5).reason ==
      CallInfo::Reason::kPermanent);
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
  CHECK_FALSE(Validate(RetryPolicy{.initial_backoff = absl::Seconds(-1)}).ok());
}
