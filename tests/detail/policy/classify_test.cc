// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/classify.h"

#include <absl/status/status.h>

#include <string>

#include "support/catch.h"

using inferwire::detail::policy::AttemptEnd;
using inferwire::detail::policy::Blame;
using inferwire::detail::policy::Classified;
using inferwire::detail::policy::Classify;
using inferwire::detail::policy::FailedAttempt;
using inferwire::detail::policy::OutOfTime;
using inferwire::detail::policy::WhetherOutOfTime;

TEST_CASE("whether an attempt ran out of time, whoever said so first", "[classify]") {
  constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
  constexpr auto kDeadline = absl::StatusCode::kDeadlineExceeded;
  constexpr auto kCancelled = absl::StatusCode::kCancelled;
  const struct {
    const char* what;
    AttemptEnd end;
    OutOfTime expected;
  } rows[] = {
      {"an error in time", {.code = kUnavailable}, OutOfTime::kNo},
      {"a server's DEADLINE_EXCEEDED long before ours", {.code = kDeadline}, OutOfTime::kNo},
      {"our timer, the attempt's", {.code = kDeadline, .ended = false, .due = true}, OutOfTime::kAttempt},
      {"our timer, the call's", {.code = kDeadline, .ended = false, .due = true, .call_due = true}, OutOfTime::kCall},
      {"the server's own deadline", {.code = kDeadline, .due = true, .call_due = true}, OutOfTime::kCall},
      {"a server that was told, and cancels",
       {.code = kCancelled, .due = true, .call_due = true, .told = true, .cut_off = true},
       OutOfTime::kCall},
      {"a server that was told its attempt's time",
       {.code = kCancelled, .due = true, .told = true, .cut_off = true},
       OutOfTime::kAttempt},
      {"a server that was not told", {.code = kCancelled, .due = true, .cut_off = true}, OutOfTime::kNo},
      {"an answer, though late", {.code = absl::StatusCode::kNotFound, .due = true, .told = true}, OutOfTime::kNo},
      {"a connection that never was",
       {.code = kUnavailable, .due = true, .told = true, .cut_off = true, .never_reached = true},
       OutOfTime::kNo},
      {"given up for another reason",
       {.code = kUnavailable, .ended = false, .due = true, .told = true, .cut_off = true},
       OutOfTime::kNo},
  };
  for (const auto& row : rows) {
    INFO(row.what);
    CHECK(WhetherOutOfTime(row.end) == row.expected);
  }
}

TEST_CASE("what a failure means for the call and for its target", "[classify]") {
  const struct {
    const char* what;
    FailedAttempt attempt;
    bool says_retryable, says_draining;
    Classified expected;
  } rows[] = {
      {"an error that may be retried", {.server_failed = true}, true, false, {true, true, false, Blame::kFailed}},
      {"one that may not", {}, false, false, {false, true, false, Blame::kAnswered}},
      {"no way to the server",
       {.never_reached = true, .server_failed = true},
       true,
       false,
       {true, false, false, Blame::kUnreached}},
      {"given up, though it may never have come",
       {.ended = false, .never_reached = true},
       true,
       false,
       {true, true, false, Blame::kAnswered}},
      {"the attempt's time is up",
       {.time = OutOfTime::kAttempt, .ended = false},
       false,
       false,
       {true, true, false, Blame::kFailed}},
      {"the call's time is up",
       {.time = OutOfTime::kCall, .ended = false},
       true,
       false,
       {false, true, false, Blame::kFailed}},
      {"a part was used",
       {.committed = true, .server_failed = true},
       true,
       false,
       {false, true, false, Blame::kFailed}},
      {"too large a message", {.too_large = true}, true, false, {false, true, false, Blame::kAnswered}},
      {"perhaps another's fault", {.perhaps_anothers = true}, false, false, {true, true, false, Blame::kAnswered}},
      {"a draining server beside others", {.others = true}, false, true, {true, false, true, Blame::kFailed}},
      {"a draining server alone", {}, false, true, {false, true, false, Blame::kAnswered}},
      {"a draining server, and a part was used",
       {.committed = true, .others = true},
       true,
       true,
       {false, false, true, Blame::kFailed}},
      {"draining, too late",
       {.time = OutOfTime::kAttempt, .ended = false, .others = true},
       true,
       true,
       {true, true, false, Blame::kFailed}},
  };
  for (const auto& row : rows) {
    INFO(row.what);
    const Classified found =
        Classify(row.attempt, [&] { return row.says_retryable; }, [&] { return row.says_draining; });
    CHECK(found.retryable == row.expected.retryable);
    CHECK(found.reached_server == row.expected.reached_server);
    CHECK(found.draining == row.expected.draining);
    CHECK(found.blame == row.expected.blame);
  }
}

TEST_CASE("the user's functions are asked only where their answer matters", "[classify]") {
  int asked = 0;
  const auto count = [&] { return ++asked > 0; };
  const auto no = [] { return false; };
  for (const FailedAttempt& attempt :
       {FailedAttempt{.time = OutOfTime::kCall, .ended = false}, FailedAttempt{.time = OutOfTime::kAttempt},
        FailedAttempt{.committed = true}, FailedAttempt{.too_large = true}, FailedAttempt{.perhaps_anothers = true}}) {
    Classify(attempt, count, no);
  }
  CHECK(asked == 0);
  Classify(FailedAttempt{}, count, no);
  CHECK(asked == 1);
  Classify(FailedAttempt{.ended = false}, no, count);  // nobody has said anything
  CHECK(asked == 1);
}
