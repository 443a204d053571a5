// SPDX-License-Identifier: Apache-2.0
//
// The course of a call: its start, what it waits for, its attempts and its end.
#ifndef INFERWIRE_DETAIL_ENGINE_CALL_COURSE_H_
#define INFERWIRE_DETAIL_ENGINE_CALL_COURSE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "inferwire/bearer_token.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/effective_options.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/validate.h"
#include "inferwire/detail/policy/hedge.h"
#include "inferwire/detail/policy/plan.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/observe/observer.h"
#include "inferwire/options/hedge_policy.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

inline void Call::Start(absl::Status ready) {
  if (engine_->foreign()) return Refuse(detail::ForkedError());
  const ClientOptions& client = engine_->options();
  const TimePoint deadline = Deadline();
  if (ready.ok()) ready = wire::ValidateMetadata(spec_.options.metadata);
  if (ready.ok()) ready = detail::ValidateLimits(spec_.options);
  if (ready.ok() && affinity_ != 0 && !client.affinity_header.empty()) {
    ready = wire::ValidateMetadata({{client.affinity_header, std::string(spec_.options.affinity.text())}});
  }
  if (ready.ok() && spec_.options.retry.has_value()) ready = policy::Validate(*spec_.options.retry);
  if (ready.ok() && spec_.options.hedge.has_value()) ready = policy::Validate(*spec_.options.hedge);
  if (ready.ok()) ready = detail::ValidateToken(spec_.options.token, client.credentials, spec_.options.metadata);
  if (ready.ok() && !engine_->Register(*this)) ready = detail::FailedPreconditionError("the client was shut down");
  if (ready.ok() && spec_.options.stop.stop_possible()) {
    stop_.emplace(spec_.options.stop, OnStop{this});  // may cancel at once; the call is not started then
  }
  engine_->counts().calls.fetch_add(1, std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  if (client.observer != nullptr) {
    auto observer = detail::InvokeUser(
        "Observer::CallStarted", [&] { return client.observer->CallStarted({spec_.path, spec_.request.size()}); });
    Fault(observer.status());
    if (observer.ok()) observer_ = *std::move(observer);
  }
  report_wanted_ = spec_.options.info != nullptr || observer_ != nullptr;
  const HedgePolicy* const hedge = effective_.hedge;
  plan_.emplace(policy::Plan::Terms{deadline, effective_.attempt_timeout, idempotent_,
                                    hedge != nullptr && MayHedge() ? hedge->max_hedges : 0, HedgeDelay()},
                effective_.retry, engine_->retry_budget(), engine_->hedge_budget());
  state_ = State::kStarted;
  if (!ready.ok()) return End(std::move(lock), std::move(ready), CallInfo::Reason::kPermanent);
  if (!cancelled_.ok()) return End(std::move(lock), std::move(cancelled_), CallInfo::Reason::kCancelled);
  if (deadline <= started_) return End(std::move(lock), DeadlineError(), CallInfo::Reason::kDeadline);
  if (EndIfFaulty(lock)) return;
  engine_->retry_budget().Deposit();
  engine_->hedge_budget().Deposit();
  OnStarted();
  if (spec_.gate != nullptr) return WaitAtGate(std::move(lock));
  Begin(std::move(lock), started_);
}

inline void Call::Cancel(absl::Status why) {
  if (foreign()) return;
  detail::Ref<Call> self(this);  // ending may drop all others
  std::unique_lock lock(mutex_);
  if (state_ == State::kEnded) return;
  if (state_ == State::kCreated) {
    cancelled_ = std::move(why);
    return;
  }
  End(std::move(lock), std::move(why), CallInfo::Reason::kCancelled);
}

inline void Call::OnTimer(Timer& timer) {
  std::unique_lock lock(mutex_);
  if (&timer == &loan_timer_) {
    const absl::Duration held = Between(started_, Now()) - report_.info().latency;
    if (!status_.ok() && held >= absl::Milliseconds(100)) {
      status_ = detail::Reworded(
          status_, detail::Cat(detail::ToStd(status_.message()), "; the transport held what it lent for another ",
                               absl::FormatDuration(absl::Trunc(held, absl::Milliseconds(1)))));
    }
    absl::Status status = status_;
    lock.unlock();
    return OnEnd(std::move(status));
  }
  if (state_ != State::kStarted || EndIfFaulty(lock)) return;
  if (&timer != &timer_) return OnOtherTimer(std::move(lock), timer);
  while (true) {
    const TimePoint now = AsOf(timer);
    if (EndIfFaulty(lock)) return;
    if (now >= gate_due_ && now < plan_->deadline()) return Pass(std::move(lock), absl::OkStatus());
    const policy::Plan::Next next = plan_->OnTime(now);
    switch (next.act) {
      case policy::Plan::Act::kNothing:
        if (now >= looks_.due()) {
          if (TakePulse(lock, now)) return;
          break;
        }
        ArmTimer();
        EndIfFaulty(lock);
        return;
      case policy::Plan::Act::kRetry:
        if (NeedsNewRequest()) {
          plan_->PostponeRetry();
          ArmTimer();
          return BuildRequest(std::move(lock));
        }
        if (StartAttempt(lock, now, /*hedge=*/false)) return;
        break;
      case policy::Plan::Act::kHedge:
        if (StartAttempt(lock, now, /*hedge=*/true)) return;
        break;
      case policy::Plan::Act::kExpire:
        // gRPC does not keep a deadline against a peer that stopped reading, so this one is ours.
        if (OnFailure(lock, **Find(next.attempt), AttemptTimeoutError(), /*over=*/false)) return;
        break;
      case policy::Plan::Act::kEnd:
        return End(std::move(lock), DeadlineError(), next.reason);
    }
  }
}

inline channel::Lease Call::PickTarget(TimePoint now) {
  auto random = [this] { return Random(); };
  const channel::LeaseKind use = spec_.mux ? channel::LeaseKind::kMessage : channel::LeaseKind::kCall;
  const std::shared_ptr<channel::Target> only = spec_.mux ? spec_.mux->OnlyTarget() : spec_.target;
  channel::Lease lease = only != nullptr  ? engine_->pool().Take(only, now, random, Timed(), use)
                         : affinity_ != 0 ? engine_->pool().PickFor(affinity_, last_target_, now, random, Timed(), use)
                                          : engine_->pool().Pick(last_target_, now, random, Timed(), use);
  last_target_ = lease.id();
  if (std::exchange(moves_on_, false)) lease.MoveBeside();
  return lease;
}

inline void Call::Help() {
  if (token() == nullptr || !detail::CurrentThread().Runs(engine_->executor())) return;
  bool waits = false;
  {
    std::lock_guard lock(mutex_);
    waits = waits_for_token_;
  }
  if (waits) token()->Help();
}

inline TimePoint Call::Now() const {
  absl::Status fault;
  const TimePoint now = engine_->Now(&fault);
  Fault(fault);
  return now;
}

inline void Call::End(std::unique_lock<std::mutex> lock, absl::Status status, CallInfo::Reason reason) {
  state_ = State::kEnded;
  loop_.Disarm(timer_);
  const bool answered = reason == CallInfo::Reason::kNone || reason == CallInfo::Reason::kPermanent;
  const bool late = reason == CallInfo::Reason::kDeadline;
  for (Attempt* attempt : running_) {
    if (late) Suspect(*attempt, status);
    GiveUp(*attempt, late ? channel::Outcome::kFailed : channel::Outcome::kNone,
           answered ? AnsweredElsewhere() : status);
  }
  running_.clear();
  const absl::Duration latency = !status.ok() || report_wanted_ ? Between(started_, Now()) : absl::ZeroDuration();
  if (!fault_.ok()) {
    status = fault_;
    reason = CallInfo::Reason::kPermanent;
  }
  if (!status.ok() || report_wanted_) {
    report_.info().reason = reason;
    report_.info().latency = latency;
    Tell(report_.info());
    if (!status.ok()) {
      report_.info().message = detail::WhatWasSaid(status);
      status = report_.Explain(status, plan_->started());
    }
    if (observer_ != nullptr) {
      absl::Status told = detail::InvokeUser("CallObserver::Ended", [&] { observer_->Ended(status, report_.info()); });
      if (!told.ok() && fault_.ok()) {
        report_.info().reason = CallInfo::Reason::kPermanent;
        status = report_.Explain(
            status.ok() ? told
                        : detail::MakeError(told.code(),
                                            detail::Cat(detail::ToStd(told.message()), "; the call had ended with ",
                                                        absl::StatusCodeToString(status.code()), ": ",
                                                        detail::ToStd(status.message()))),
            plan_->started());
      }
    }
    if (spec_.options.info != nullptr) *spec_.options.info = report_.info();
  }
  engine_->counts().ended.fetch_add(1, std::memory_order_relaxed);
  if (!status.ok()) engine_->counts().failed.fetch_add(1, std::memory_order_relaxed);
  status_ = status;
  const bool waited_for_token = std::exchange(waits_for_token_, false);
  wire::Payload gone = std::exchange(spec_.request, {});
  std::shared_ptr<Gate> gate = std::exchange(spec_.gate, nullptr);
  lock.unlock();
  if (waited_for_token) token()->Forget(*this);
  gate = nullptr;
  stop_.reset();  // waits for a callback that runs elsewhere, hence without the lock
  engine_->Unregister(*this);
  Complete(std::move(status), std::move(gone));
}

inline void Call::Refuse(absl::Status status) {
  std::unique_lock lock(mutex_);
  state_ = State::kEnded;
  report_.info().reason = CallInfo::Reason::kPermanent;
  detail::AttachCallInfo(status, report_.info(), report_.Name());
  if (spec_.options.info != nullptr) *spec_.options.info = report_.info();
  status_ = status;
  wire::Payload gone = std::exchange(spec_.request, {});
  lock.unlock();
  Complete(std::move(status), std::move(gone));
}

inline void Call::Complete(absl::Status status, wire::Payload gone) {
  if (lends()) {
    gone = {};
    const bool waits =
        lends_->OnReturn([self = detail::Ref<Call>(this)] { self->loop_.Arm(self->loan_timer_, TimePoint::min()); });
    if (waits) return;
  }
  OnEnd(std::move(status));
}

inline TimePoint Call::Deadline() const {
  TimePoint deadline = After(started_, spec_.timeout);
  if (spec_.options.parent != nullptr) {
    const auto wall = spec_.options.parent->deadline();
    if (wall != std::chrono::system_clock::time_point::max()) {
      deadline = (std::min)(deadline, After(started_, absl::FromChrono(wall) - absl::Now()));
    }
  }
  return deadline;
}

inline absl::Duration Call::HedgeDelay() const {
  if (effective_.hedge == nullptr) return absl::InfiniteDuration();
  if (!effective_.hedge->percentile.has_value()) return effective_.hedge->delay;
  const auto quantile = engine_->Latencies(spec_.path).Quantile(*effective_.hedge->percentile);
  return quantile.has_value() ? (std::max)(*quantile, absl::Milliseconds(1)) : effective_.hedge->delay;
}

inline void Call::WaitAtGate(std::unique_lock<std::mutex> lock) {
  gate_due_ = After(started_, (std::min)(kGatePatience, Between(started_, plan_->deadline()) / 2));
  ArmTimer();
  if (EndIfFaulty(lock)) return;
  const std::shared_ptr<Gate> gate = spec_.gate;
  lock.unlock();
  std::optional<absl::Status> known = gate->Enter([self = detail::Ref<Call>(this)](absl::Status status) {
    self->Pass(std::unique_lock(self->mutex_), std::move(status));
  });
  if (known.has_value()) Pass(std::unique_lock(mutex_), *std::move(known));
}

inline void Call::Pass(std::unique_lock<std::mutex> lock, absl::Status status) {
  if (state_ != State::kStarted || spec_.gate == nullptr) return;
  if (!status.ok()) return End(std::move(lock), std::move(status), CallInfo::Reason::kPermanent);
  const std::shared_ptr<Gate> gate = std::exchange(spec_.gate, nullptr);  // ends behind the lock
  gate_due_ = TimePoint::max();
  Begin(std::move(lock), Now());
}

inline void Call::FetchToken(std::unique_lock<std::mutex> lock) {
  ArmTimer();
  if (EndIfFaulty(lock)) return;
  waits_for_token_ = true;
  lock.unlock();
  const bool valid = token()->Ready(engine_->executor(), *this);
  if (valid) return OnToken(absl::OkStatus());
  lock.lock();
  if (state_ != State::kEnded) return;
  lock.unlock();
  token()->Forget(*this);  // it may have ended before it was known there
}

inline bool Call::StartAttempt(std::unique_lock<std::mutex>& lock, TimePoint now, bool hedge) {
  if (token() != nullptr) sent_token_ = token()->Latest();
  Counts& counts = engine_->counts();
  counts.attempts.fetch_add(1, std::memory_order_relaxed);
  if (plan_->started() > 0) (hedge ? counts.hedges : counts.retries).fetch_add(1, std::memory_order_relaxed);
  const auto [number, due] = plan_->Start(now);
  Attempt* const attempt = NewAttempt(number, now, due);
  attempt->set_hedge(hedge);
  Metadata metadata;
  if (observer_ != nullptr) {
    TellObserver("CallObserver::AttemptStarted",
                 [&] { observer_->AttemptStarted({number, hedge, attempt->target()}, metadata); });
    if (absl::Status legal = wire::ValidateMetadata(metadata); !legal.ok()) {
      Fault(detail::InvalidArgumentError(detail::Cat("from the observer: ", detail::ToStd(legal.message()))));
    }
  }
  if (!fault_.ok()) {
    delete attempt;
    return EndIfFaulty(lock);
  }
  AddMetadata(*attempt, metadata);
  running_.push_back(attempt);
  LookLater(now, due);
  // In between, since the loop's lock is what shows the attempt's memory to the thread that will take its operations
  // off the queue, without relying on how gRPC hands them over.
  ArmTimer();
  attempt->Start();
  attempt->Listen(now);
  return EndIfFaulty(lock);
}

inline void Call::AddMetadata(Attempt& attempt, const Metadata& observed) const {
  const bool bearer = sent_token_ != nullptr && !wire::Has(observed, wire::kAuthorization);
  if (bearer) attempt.AddMetadata(std::string(wire::kAuthorization), sent_token_->text());
  const Metadata* const places[] = {&observed, &spec_.options.metadata, &engine_->options().metadata};
  for (auto place = std::begin(places); place != std::end(places); ++place) {
    for (const auto& [key, value] : **place) {
      const bool replaced = (bearer && key == wire::kAuthorization) ||
                            std::any_of(std::begin(places), place,
                                        [&, &k = key](const Metadata* nearer) { return wire::Has(*nearer, k); });
      if (!replaced) attempt.AddMetadata(key, value);
    }
  }
  const std::string& header = engine_->options().affinity_header;
  if (affinity_ == 0 || header.empty()) return;
  const auto brings = [&](const Metadata* place) { return wire::Has(*place, header); };
  if (std::none_of(std::begin(places), std::end(places), brings)) {
    attempt.AddMetadata(header, engine_->affinities().SentFor(std::string(spec_.options.affinity.text())));
  }
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_CALL_COURSE_H_
