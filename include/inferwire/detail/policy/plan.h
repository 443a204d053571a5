// SPDX-License-Identifier: Apache-2.0
//
// The course of one call: when an attempt starts, which are given up, and when the call ends. No gRPC, no threads.
#ifndef INFERWIRE_DETAIL_POLICY_PLAN_H_
#define INFERWIRE_DETAIL_POLICY_PLAN_H_

#include <absl/container/inlined_vector.h>
#include <absl/time/time.h>

#include <algorithm>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/policy/budget.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace policy {

/// Says what comes next; the engine does it. Attempts are numbered from 0 in the order they start, and several may be
/// running: a hedge starts beside a slow one, and a retry of a failed one beside a hedge.
///
/// The engine calls Start for each attempt it starts, OnFailure for each that failed, and OnTime when `due()` has come,
/// until that says kNothing. An attempt that succeeded ends the call without asking. Pure: time and randomness come in
/// as arguments.
class Plan {
 public:
  struct Terms {
    TimePoint deadline;              ///< of the call
    absl::Duration attempt_timeout;  ///< of each attempt
    bool idempotent;
    int max_hedges;              ///< 0 turns hedging off
    absl::Duration hedge_delay;  ///< from the start of the latest attempt
  };
  enum class Act {
    kNothing,  ///< until `due()`, or until an attempt ends
    kRetry,    ///< start an attempt
    kHedge,    ///< start an attempt beside those that run
    kExpire,   ///< `attempt` has used up its own time: give it up, and report it as failed
    kEnd,      ///< end the call, for `reason`, giving up whatever runs
  };
  struct Next {
    Act act;
    int attempt = -1;
    CallInfo::Reason reason = CallInfo::Reason::kNone;
    absl::Duration delay = absl::ZeroDuration();  ///< of a retry that was scheduled, for those who watch
  };

  /// The policies and budgets outlive it.
  Plan(const Terms& terms, const RetryPolicy& retry, Budget& retry_budget, Budget& hedge_budget)
      : terms_(terms),
        retry_(retry, retry_budget, terms.idempotent),
        hedge_budget_(hedge_budget),
        hedges_left_(terms.idempotent ? terms.max_hedges : 0) {}

  /// An attempt starts: its number, and when it is to be over.
  std::pair<int, TimePoint> Start(TimePoint now) {
    const TimePoint due = Due(now);
    latest_ = now;
    running_.push_back({started_, due});
    retry_at_ = TimePoint::max();
    hedge_at_ = hedges_left_ > 0 ? After(now, terms_.hedge_delay) : TimePoint::max();
    return {started_++, due};
  }

  /// A running attempt failed: kEnd, kRetry where that began a wait of `delay` for another, else kNothing.
  Next OnFailure(int attempt, const Failure& failure, double unit, TimePoint now) {
    const auto gone =
        std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.number == attempt; });
    if (gone == running_.end()) return {Act::kNothing};
    running_.erase(gone);
    answered_ = false;
    // What comes next is settled, or under way.
    const bool settled = retry_at_ != TimePoint::max() || (failure.accompanied && !running_.empty());
    if (settled && failure.retryable) return {Act::kNothing};
    const Decision decision = retry_.OnFailure(failure, Between(now, terms_.deadline), unit, now);
    if (decision.retry) {
      retry_at_ = After(now, decision.delay);
      return {Act::kRetry, attempt, CallInfo::Reason::kNone, decision.delay};
    }
    // An error that another attempt would not change is the answer, whoever else is still trying.
    if (decision.reason == CallInfo::Reason::kPermanent || running_.empty()) return End(decision.reason);
    if (decision.reason == CallInfo::Reason::kPushback) StopHedging();
    return {Act::kNothing};
  }

  /// Whether a retry may begin now, beside an attempt that will hardly end.
  bool MayAdd(TimePoint now) { return retry_.OnFailure({}, Between(now, terms_.deadline), 0, now).retry; }

  /// The retry that is due begins later, with Start.
  void PostponeRetry() { retry_at_ = TimePoint::max(); }

  /// A running attempt goes forward without an answer: its time begins anew. When it is to be over.
  TimePoint Restart(int attempt, TimePoint now) {
    const TimePoint due = Due(now);
    for (Running& running : running_) {
      if (running.number == attempt) running.due = due;
    }
    return due;
  }

  /// A part of the answer was handed out: from here on only the attempt that gave it counts, and it is an attempt no
  /// more, but the call.
  void Commit(int attempt) {
    running_.erase(
        std::remove_if(running_.begin(), running_.end(), [&](const Running& r) { return r.number != attempt; }),
        running_.end());
    for (Running& running : running_) running.due = terms_.deadline;
    StopHedging();
    retry_at_ = TimePoint::max();
  }
  /// The whole answer of an attempt has come, and is being understood: what came in time counts, however long that
  /// takes. Until OnFailure nothing expires and nothing starts.
  void Answered(int attempt) {
    Commit(attempt);
    answered_ = true;
  }
  /// The attempt to which it is committed brought the call forward: see Retry.
  void ResetRetries(TimePoint now) { retry_.ResetRetries(Between(latest_, now)); }

  Next OnTime(TimePoint now) {
    if (answered_) return {Act::kNothing};
    if (now >= terms_.deadline) return End(CallInfo::Reason::kDeadline);
    for (const Running& running : running_) {
      if (now >= running.due) return {Act::kExpire, running.number};
    }
    if (now >= retry_at_) return {Act::kRetry};
    if (now >= hedge_at_ && !running_.empty()) {
      hedge_at_ = TimePoint::max();
      // Without a token the call does without: what is slow now is slow for everyone.
      if (hedges_left_ > 0 && hedge_budget_.Withdraw(now)) {
        --hedges_left_;
        return {Act::kHedge};
      }
      hedges_left_ = 0;
    }
    return {Act::kNothing};
  }

  /// When OnTime has something to say, at the latest.
  TimePoint due() const {
    if (answered_) return TimePoint::max();
    TimePoint due = (std::min)(terms_.deadline, retry_at_);
    if (!running_.empty()) due = (std::min)(due, hedge_at_);
    for (const Running& running : running_) due = (std::min)(due, running.due);
    return due;
  }

  bool answered() const { return answered_; }
  TimePoint deadline() const { return terms_.deadline; }
  int started() const { return started_; }

 private:
  TimePoint Due(TimePoint now) const { return (std::min)(terms_.deadline, After(now, terms_.attempt_timeout)); }

  struct Running {
    int number;
    TimePoint due;
  };
  void StopHedging() {
    hedges_left_ = 0;
    hedge_at_ = TimePoint::max();
  }
  Next End(CallInfo::Reason reason) {
    running_.clear();
    retry_at_ = hedge_at_ = TimePoint::max();
    return {Act::kEnd, -1, reason};
  }

  const Terms terms_;
  Retry retry_;
  Budget& hedge_budget_;
  int hedges_left_;
  int started_ = 0;
  TimePoint latest_;  // when the last one started
  bool answered_ = false;
  absl::InlinedVector<Running, 2> running_;
  TimePoint retry_at_ = TimePoint::max();
  TimePoint hedge_at_ = TimePoint::max();
};

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_PLAN_H_
