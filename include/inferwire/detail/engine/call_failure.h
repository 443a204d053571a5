// SPDX-License-Identifier: Apache-2.0
//
// What a call makes of an attempt that ends, or by which nothing comes.
#ifndef INFERWIRE_DETAIL_ENGINE_CALL_FAILURE_H_
#define INFERWIRE_DETAIL_ENGINE_CALL_FAILURE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/silence.h"
#include "inferwire/detail/policy/classify.h"
#include "inferwire/detail/policy/plan.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

inline void Call::OnAttemptEnd(std::unique_lock<std::mutex> lock, Attempt& attempt, absl::Status status) {
  if (!Running(attempt)) return;
  if (!status.ok()) {
    if (OnFailure(lock, attempt, std::move(status), /*over=*/!attempt.told_in_band())) return;
    ArmTimer();
    EndIfFaulty(lock);
    return;
  }
  LearnAffinity(attempt);
  const channel::Outcome verdict = spec_.target == nullptr ? channel::Outcome::kAnswered : channel::Outcome::kNone;
  const absl::Duration latency = RecordAttempt(attempt, verdict, status, std::nullopt);
  if (effective_.hedge != nullptr && effective_.hedge->percentile.has_value())
    engine_->Latencies(spec_.path).Add(latency);
  if (report_wanted_) attempt.ReadMetadata(report_.info());
  running_.erase(Find(attempt.number()));
  End(std::move(lock), absl::OkStatus(), CallInfo::Reason::kNone);
}

inline absl::Status Call::DeadlineError() const {
  // As it was given, where it is not a parent's time that is up.
  const bool own = plan_->deadline() == After(started_, spec_.timeout);
  const absl::Duration given = own ? spec_.timeout : Between(started_, plan_->deadline());
  if (given <= absl::ZeroDuration()) {
    return detail::DeadlineExceededError(detail::Cat("the timeout is ", absl::FormatDuration(given)));
  }
  return detail::DeadlineExceededError(detail::Cat("no end within the timeout of ", absl::FormatDuration(given)));
}

inline bool Call::TakePulse(std::unique_lock<std::mutex>& lock, TimePoint now) {
  looks_.Stop();
  if (!MayLook()) return false;
  if (!Waits()) {
    for (Attempt* const attempt : running_) attempt->Listen(now);
    looks_.Rest(now);
    return false;
  }
  Attempt* dead = nullptr;
  for (Attempt* const attempt : running_) {
    if (attempt->given_up() || !looks_.Ripe(attempt->quiet_since(), now)) continue;
    const Pulse pulse = attempt->TakePulse(LookAt(*attempt, now));
    if (pulse == Pulse::kHeard) attempt->Listen(now);
    if (pulse == Pulse::kNone) dead = attempt;
    looks_.Again(pulse, now);
  }
  if (dead == nullptr) return false;
  dead->set_given_up();
  if (!MayLeaveConnection()) return false;
  absl::Status status =
      detail::UnavailableError("the server no longer answers by this connection, and does by a new one");
  if (!Watches() && !Asked(AskRetryable(status))) return false;
  if (MayHedge() && !NeedsNewRequest() && !Watches()) {
    return plan_->MayAdd(now) && StartAttempt(lock, now, /*hedge=*/true);
  }
  Suspect(*dead, status);
  return OnFailure(lock, *dead, std::move(status), /*over=*/false);
}

inline void Call::Suspect(Attempt& attempt, absl::Status& status, bool moves_on) {
  Look look = LookAt(attempt, Now());
  look.moves_on = moves_on;
  const std::string doubt = attempt.Doubt(look);
  if (doubt.empty()) return;
  moves_on_ = moves_on;
  status = detail::Reworded(status, detail::Cat(detail::ToStd(status.message()), "; ", doubt));
}

inline bool Call::OnFailure(std::unique_lock<std::mutex>& lock, Attempt& attempt, absl::Status status, bool over) {
  const TimePoint now = Now();
  const int number = attempt.number();
  const std::optional<Opinion> opinion = std::exchange(opinion_, std::nullopt);
  if (opinion.has_value()) Fault(opinion->fault);
  policy::AttemptEnd end;
  end.code = status.code();
  end.ended = over;
  end.due = !plan_->answered() && attempt.due() != TimePoint::max() && now + Early(attempt) >= attempt.due();
  end.call_due = attempt.due() >= plan_->deadline();
  if (end.due && over) {
    end.told = attempt.ToldWhenDue();
    end.cut_off = wire::CutOff(status);
    end.never_reached = attempt.NeverReached(status.code());
  }
  const policy::OutOfTime time = policy::WhetherOutOfTime(end);
  const bool timed_out = time == policy::OutOfTime::kAttempt;
  if (time != policy::OutOfTime::kNo && over) {
    status = detail::DeadlineExceededError(detail::Cat(
        detail::ToStd((timed_out ? AttemptTimeoutError() : DeadlineError()).message()), "; the server said ",
        absl::StatusCodeToString(status.code()), ": ", detail::ToStd(status.message())));
  }
  policy::Failure failure;
  failure.accompanied = attempt.given_up();
  failure.begun = NeedsNewRequest();
  failure.whose = std::hash<const void*>()(&spec_.path) * 31 + std::hash<std::string>()(attempt.target());
  report_.info().details.clear();
  if (time != policy::OutOfTime::kNo && !over)
    Suspect(attempt, status, /*moves_on=*/timed_out);  // while it has its place
  if (over) {
    report_.info().details = attempt.details();
    failure.pushback = attempt.pushback(report_.info().details);
    attempt.ReadMetadata(report_.info());
  } else {
    report_.info().initial_metadata.clear();
    report_.info().trailing_metadata.clear();
  }
  const bool anothers = over && attempt.PerhapsAnothers();
  alone_ = alone_ || anothers;
  failure.anothers = anothers && attempt.ServerWorks();
  const policy::FailedAttempt failed = {.time = time,
                                        .ended = over,
                                        .committed = Committed(),
                                        .too_large = wire::MessageTooLarge(status),
                                        .perhaps_anothers = anothers,
                                        .never_reached = over && attempt.NeverReached(status.code()),
                                        .server_failed = attempt.ServerFailed(status.code()),
                                        .others = engine_->pool().size() > 1};
  const policy::Classified meant = policy::Classify(
      failed, [&] { return opinion.has_value() ? opinion->retryable : Asked(AskRetryable(status)); },
      [&] { return opinion.has_value() ? opinion->draining : Asked(AskDraining(status)); });
  failure.retryable = meant.retryable;
  failure.reached_server = meant.reached_server;
  reached_server_ = reached_server_ || meant.reached_server || meant.draining;
  if (status.code() == absl::StatusCode::kUnauthenticated && token() != nullptr) token()->Reject(sent_token_);
  RecordAttempt(attempt, OutcomeOf(meant.blame), status, failure.pushback);
  running_.erase(Find(number));
  if (running_.empty()) looks_.Stop();
  if (!over) attempt.Abandon();  // which may be its end
  if (EndIfFaulty(lock)) return true;
  if (time == policy::OutOfTime::kCall) {
    End(std::move(lock), std::move(status), CallInfo::Reason::kDeadline);
    return true;
  }
  const policy::Plan::Next next = plan_->OnFailure(number, failure, Random(), now);
  if (EndIfFaulty(lock)) return true;
  if (next.act == policy::Plan::Act::kEnd) {
    // Cancelled with the handler that makes the call.
    const bool cancelled = spec_.options.parent != nullptr && status.code() == absl::StatusCode::kCancelled;
    End(std::move(lock), std::move(status), cancelled ? CallInfo::Reason::kCancelled : next.reason);
    return true;
  }
  if (next.act == policy::Plan::Act::kRetry && observer_ != nullptr) {
    TellObserver("CallObserver::RetryScheduled", [&] { observer_->RetryScheduled(next.delay); });
  }
  return EndIfFaulty(lock);
}

inline channel::Outcome Call::OutcomeOf(policy::Blame blame) {
  switch (blame) {
    case policy::Blame::kUnreached:
      return channel::Outcome::kUnreached;
    case policy::Blame::kFailed:
      return channel::Outcome::kFailed;
    case policy::Blame::kAnswered:
      break;
  }
  return channel::Outcome::kAnswered;
}

inline void Call::GiveUpOthers(Attempt& attempt) {
  if (running_.size() == 1) return;
  for (Attempt* other : running_) {
    if (other != &attempt) GiveUp(*other, channel::Outcome::kNone, AnsweredElsewhere());
  }
  running_.assign(1, &attempt);
}

inline absl::Duration Call::RecordAttempt(Attempt& attempt, channel::Outcome verdict, const absl::Status& status,
                                          std::optional<absl::Duration> pushback) {
  const TimePoint now = Now();
  const absl::Duration latency = Between(attempt.started(), now);
  attempt.ReportOutcome(verdict, Timed() ? std::make_optional(latency) : std::nullopt, now);
  if (status.ok() && !report_wanted_) return latency;
  CallInfo::Attempt told = {attempt.target(), attempt.peer(),  status.code(), detail::WhatWasSaid(status),
                            latency,          attempt.hedge(), pushback};
  if (observer_ != nullptr) {
    TellObserver("CallObserver::AttemptEnded", [&] { observer_->AttemptEnded(attempt.number(), told); });
  }
  report_.Record(static_cast<std::size_t>(attempt.number()), std::move(told));
  return latency;
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_CALL_FAILURE_H_
