// SPDX-License-Identifier: Apache-2.0
//
// The one attempt engine: it does what a call's plan says, and ends every call once.
#ifndef INFERWIRE_ENGINE_CALL_H_
#define INFERWIRE_ENGINE_CALL_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/bearer_token.h"
#include "inferwire/call_options.h"
#include "inferwire/channel/channel.h"
#include "inferwire/channel/pool.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/invoke_user.h"
#include "inferwire/detail/keeper.h"
#include "inferwire/detail/process.h"
#include "inferwire/detail/secret.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/attempt.h"
#include "inferwire/engine/carrier.h"
#include "inferwire/engine/engine.h"
#include "inferwire/engine/gate.h"
#include "inferwire/engine/loop.h"
#include "inferwire/engine/silence.h"
#include "inferwire/engine/validate.h"
#include "inferwire/executor.h"
#include "inferwire/observe/observer.h"
#include "inferwire/policy/hedge.h"
#include "inferwire/policy/plan.h"
#include "inferwire/policy/retry.h"
#include "inferwire/status.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// One call, whatever its form: attempts on channels until one succeeds, the plan says stop, or the caller cancels;
/// then OnEnd, exactly once. The forms add what one attempt is and what its end gives.
///
/// Threads: completions and timers come from whoever turns the loop, Cancel from anywhere. All state is under `mutex_`.
/// gRPC reports through the loop alone, never from within a call to it, so operations are started under the lock.
/// A function that takes the lock by reference and returns true has ended the call, and released the lock.
class Call : public TimerOwner, public Cancellable, public detail::TokenWaiter {
 public:
  /// What all attempts share.
  struct Spec {
    const std::string& path;  // of Rpc<>: lives as long as the process
    wire::Payload request;    // until the end
    CallOptions options;
    absl::Duration timeout;
    /// Whether an error says that the server is about to go and has not begun: a contract's own words for it.
    bool (*draining)(const absl::Status&) = nullptr;
    /// Whether that is the user's function.
    bool foreign = false;
    /// Where the request travels on a stream with others, and the caller's id for it.
    detail::Ref<Carrier> carrier = {};
    std::string id = {};
    /// The only target that it may go to, where it is a stream that carries others there: it is for them to say how the
    /// target answers.
    std::shared_ptr<channel::Target> target = nullptr;
    /// What it waits for before anything is sent, if for something.
    std::shared_ptr<Gate> gate = nullptr;
  };

  /// Starts the call, or ends it at once with `ready` if that is an error: bad input ends as every call does.
  void Start(absl::Status ready) {
    if (engine_->foreign()) return Refuse(detail::ForkedError());
    const ClientOptions& client = engine_->options();
    const TimePoint deadline = Deadline();
    if (ready.ok()) ready = wire::ValidateMetadata(spec_.options.metadata);
    if (ready.ok()) ready = detail::ValidateLimits(spec_.options);
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
    telling_ = spec_.options.info != nullptr || observer_ != nullptr;
    hedge_ = spec_.options.hedge.has_value() ? &*spec_.options.hedge
             : client.hedge.has_value()      ? &*client.hedge
                                             : nullptr;
    plan_.emplace(policy::Plan::Terms{deadline, attempt_timeout_, idempotent_,
                                      hedge_ != nullptr && MayHedge() ? hedge_->max_hedges : 0, HedgeDelay()},
                  retry_policy(), engine_->retry_budget(), engine_->hedge_budget());
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

  void Cancel(absl::Status why) override {
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

  void OnTimer(Timer& timer) override {
    std::unique_lock lock(mutex_);
    if (&timer == &loan_timer_) {
      const absl::Duration held = Between(started_, Now()) - info_.latency;
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
          if (Unprepared()) {
            plan_->Hold();
            ArmTimer();
            return Prepare(std::move(lock));
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

  /// Whether it was made by the process that forked this one. Nothing else is to be asked of it then.
  bool foreign() const { return origin_.foreign(); }
  /// Whether it was made there, or in this process and refused, since its client was.
  bool of_foreign_client() const { return foreign() || engine_->foreign(); }

 protected:
  enum class State { kCreated, kStarted, kEnded };

  Call(std::shared_ptr<Engine> engine, Loop& loop, Spec&& spec)
      : engine_(std::move(engine)),
        loop_(loop),
        spec_(std::move(spec)),
        attempt_timeout_(spec_.options.attempt_timeout.value_or(engine_->options().attempt_timeout)),
        idempotent_(spec_.options.idempotent.value_or(engine_->options().idempotent)),
        lends_(spec_.request.loan()),
        timer_(*this, engine_->clock()),
        loan_timer_(*this),
        started_(Now()) {}

  /// The call has started; its first attempt may have to wait. Under the lock.
  virtual void OnStarted() {}
  /// An exchange that is about to start. Under the lock.
  virtual Attempt* NewAttempt(int number, TimePoint now, TimePoint due) = 0;
  /// A target for it.
  channel::Lease PickTarget(TimePoint now) {
    auto random = [this] { return Random(); };
    const channel::Use use = spec_.carrier ? channel::Use::kMessage : channel::Use::kCall;
    const std::shared_ptr<channel::Target> only = spec_.carrier ? spec_.carrier->OnlyTarget() : spec_.target;
    channel::Lease lease = only != nullptr ? engine_->pool().Take(only, now, random, Timed(), use)
                                           : engine_->pool().Pick(last_target_, now, random, Timed(), use);
    last_target_ = lease.id();
    if (std::exchange(moves_on_, false)) lease.MoveBeside();
    return lease;
  }
  /// Whether the next attempt needs a request that is yet to be made; Prepare then has Resume called once it is.
  virtual bool Unprepared() const { return false; }
  /// Takes the lock over.
  virtual void Prepare(std::unique_lock<std::mutex> /*lock*/) {}
  /// Takes the lock over.
  void Resume(std::unique_lock<std::mutex> lock, absl::Status prepared) {
    if (state_ != State::kStarted) return;
    if (!prepared.ok()) return End(std::move(lock), std::move(prepared), CallInfo::Reason::kPermanent);
    StartAttempt(lock, Now(), /*hedge=*/false);
  }
  /// Whether another attempt is out of the question, since a part of this one was used. Under the lock.
  virtual bool Committed() const { return false; }
  /// Whether an attempt's duration tells how quick its target is.
  virtual bool Timed() const { return true; }
  /// What does not come within ClientOptions::attempt_timeout.
  virtual const char* Lacking() const { return "no end"; }
  /// Whether it waits for what may never come, and is begun anew when its connection turns out to be dead.
  virtual bool Watches() const { return false; }
  /// How long it waits for a message at the longest, and whether it waits for one now.
  virtual absl::Duration LongestWait() const { return absl::InfiniteDuration(); }
  virtual bool Waits() const { return true; }
  /// Whether attempts may run side by side.
  virtual bool MayHedge() const { return true; }
  /// This thread is to wait for the call: does what that takes of what this thread's executor was given and has not
  /// begun. Without the lock.
  void Help() {
    if (token() == nullptr || !detail::CurrentThread().Runs(engine_->executor())) return;
    bool waits = false;
    {
      std::lock_guard lock(mutex_);
      waits = waits_for_token_;
    }
    if (waits) token()->Help();
  }
  /// Returns when `done`, on a thread that serves gRPC: which serves on, since nobody else may.
  template <class Done>
  void ServeUntil(Done done) {
    const auto visits = std::make_shared<detail::Visits>();  // the loop's own are those of its thread
    detail::Keeper::Instance().Watch(visits);
    loop_.Assist(*visits, std::chrono::milliseconds(1), [&] { return !done(); });
  }
  /// A function of the user's has failed: that is the call's end. Under the lock.
  void Fault(const absl::Status& status) const {
    if (fault_.ok()) fault_ = status;
  }
  bool EndIfFaulty(std::unique_lock<std::mutex>& lock) {
    if (fault_.ok()) return false;
    End(std::move(lock), fault_, CallInfo::Reason::kPermanent);
    return true;
  }
  /// A timer of the form's own. Takes the lock over.
  virtual void OnOtherTimer(std::unique_lock<std::mutex> lock, Timer& timer) = 0;
  /// What the form adds to the story of the call. Under the lock.
  virtual void Tell(CallInfo& /*info*/) const {}
  /// The end, once. Without the lock, and when gRPC has let go of memory that was lent.
  virtual void OnEnd(absl::Status status) = 0;

  /// Under the lock.
  TimePoint Now() const {
    absl::Status fault;
    const TimePoint now = engine_->Now(&fault);
    Fault(fault);
    return now;
  }
  /// What counts as now for a timer that fires.
  TimePoint AsOf(const Timer& timer) const { return engine_->clock() != nullptr ? Now() : timer.as_of(); }
  TimePoint started() const { return started_; }
  TimePoint deadline() const { return plan_->deadline(); }
  /// What the next attempt asks of a stream that it may share.
  Rider::Terms rider_terms() const { return {.alone = alone_, .repeatable = idempotent_}; }
  /// Whether an attempt that failed had, for all that is known, reached a server.
  bool reached_server() const { return reached_server_; }
  /// Whether the caller ended it.
  bool cancelled() const { return info_.reason == CallInfo::Reason::kCancelled; }
  /// Whether the request refers to memory of the caller's.
  bool lends() const { return static_cast<bool>(lends_); }
  const auto& running() const { return running_; }
  bool Running(const Attempt& attempt) const {
    return std::find(running_.begin(), running_.end(), &attempt) != running_.end();
  }
  /// A message came, behind which it may be gone on.
  void Progress(TimePoint now) { plan_->Progress(now); }
  /// From now on only this attempt counts: a part of its answer is used.
  void Commit(Attempt& attempt) {
    GiveUpOthers(attempt);
    plan_->Commit(attempt.number());
    attempt.set_due(plan_->deadline());
  }
  /// It goes forward, though it is not answered yet.
  void RestartAttemptTimeout(Attempt& attempt) {
    if (attempt_timeout_ != absl::InfiniteDuration()) attempt.set_due(plan_->Restart(attempt.number(), Now()));
  }
  bool answered() const { return state_ == State::kStarted && plan_->answered(); }
  /// Its whole answer is there: until OnAttemptEnd no time counts any more, and no other attempt starts.
  void Answered(Attempt& attempt) {
    GiveUpOthers(attempt);
    plan_->Answered(attempt.number());
  }

  /// Whether what an error means is for functions of the user's to say, which take what time they like.
  bool AsksUser() const { return retry_policy().retry_if || (spec_.draining != nullptr && spec_.foreign); }
  /// OnAttemptEnd, on a thread that other calls do not wait for. `keep` holds the attempt. Without the lock.
  template <class Keep>
  void OnAttemptEndApart(Attempt& attempt, absl::Status status, Keep keep) {
    engine_->decoders().Run(
        [self = detail::Ref<Call>(this), &attempt, status = std::move(status), keep = std::move(keep)]() mutable {
          detail::CurrentThread().serves_grpc = true;  // others wait for this thread
          Opinion opinion;
          const auto ask = [&](absl::StatusOr<bool> answer) {
            if (opinion.fault.ok()) opinion.fault = answer.status();
            return answer.value_or(false);
          };
          opinion.retryable = ask(self->AskRetryable(status));
          opinion.draining = ask(self->AskDraining(status));
          std::unique_lock lock(self->mutex_);
          if (!self->Running(attempt)) return;
          self->opinion_ = std::move(opinion);
          self->OnAttemptEnd(std::move(lock), attempt, std::move(status));
        });
  }
  /// An attempt ended by itself, with `status`. Takes the lock over; without effect where the call had given it up.
  void OnAttemptEnd(std::unique_lock<std::mutex> lock, Attempt& attempt, absl::Status status) {
    if (!Running(attempt)) return;
    if (!status.ok()) {
      if (OnFailure(lock, attempt, std::move(status), /*over=*/true)) return;
      ArmTimer();
      EndIfFaulty(lock);
      return;
    }
    const channel::Verdict verdict = spec_.target == nullptr ? channel::Verdict::kAnswered : channel::Verdict::kNone;
    const absl::Duration latency = Settle(attempt, verdict, status, std::nullopt);
    if (hedge_ != nullptr && hedge_->percentile.has_value()) engine_->Latencies(spec_.path).Add(latency);
    if (telling_) attempt.TellMetadata(info_);
    running_.erase(Find(attempt.number()));
    End(std::move(lock), absl::OkStatus(), CallInfo::Reason::kNone);
  }

  /// The single end. Takes the lock over.
  void End(std::unique_lock<std::mutex> lock, absl::Status status, CallInfo::Reason reason) {
    state_ = State::kEnded;
    loop_.Disarm(timer_);
    const bool answered = reason == CallInfo::Reason::kNone || reason == CallInfo::Reason::kPermanent;
    const bool late = reason == CallInfo::Reason::kDeadline;
    for (Attempt* attempt : running_) {
      if (late) Suspect(*attempt, status);
      GiveUp(*attempt, late ? channel::Verdict::kFailed : channel::Verdict::kNone,
             answered ? AnsweredElsewhere() : status);
    }
    running_.clear();
    const absl::Duration latency = !status.ok() || telling_ ? Between(started_, Now()) : absl::ZeroDuration();
    if (!fault_.ok()) {
      status = fault_;
      reason = CallInfo::Reason::kPermanent;
    }
    if (!status.ok() || telling_) {
      info_.reason = reason;
      info_.latency = latency;
      Tell(info_);
      if (!status.ok()) {
        info_.message = detail::WhatWasSaid(status);
        status = Explain(status);
      }
      if (observer_ != nullptr) {
        absl::Status told = detail::InvokeUser("CallObserver::Ended", [&] { observer_->Ended(status, info_); });
        if (!told.ok() && fault_.ok()) {
          info_.reason = CallInfo::Reason::kPermanent;
          status =
              Explain(status.ok() ? told
                                  : detail::MakeError(told.code(), detail::Cat(detail::ToStd(told.message()),
                                                                               "; the call had ended with ",
                                                                               absl::StatusCodeToString(status.code()),
                                                                               ": ", detail::ToStd(status.message()))));
        }
      }
      if (spec_.options.info != nullptr) *spec_.options.info = info_;
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

  const detail::OfOneProcess origin_;
  const std::shared_ptr<Engine> engine_;
  Loop& loop_;
  Spec spec_;
  const absl::Duration attempt_timeout_;
  bool idempotent_;
  std::mutex mutex_;
  State state_ = State::kCreated;
  absl::Status status_;  // OK until the end, then the final one

 private:
  struct OnStop {
    Call* call;
    void operator()() const { call->Cancel(detail::CancelledError("cancelled by the caller's stop token")); }
  };
  using AttemptList = absl::InlinedVector<Attempt*, 2>;

  // What a call waits at a gate at the longest, and not more than half of its time: the rest is for what it is there
  // for.
  static constexpr absl::Duration kGatePatience = absl::Seconds(5);
  // How much earlier than asked for the server may come to a deadline: both round, and have clocks of their own. Of a
  // short time it is a small part.
  static std::chrono::nanoseconds Early(const Attempt& attempt) {
    using std::chrono::milliseconds, std::chrono::nanoseconds;
    const nanoseconds given = attempt.due() - attempt.started();
    return (std::min)(std::clamp<nanoseconds>(given / 100, milliseconds(10), milliseconds(100)), given / 4);
  }

  // Of a stream that breaks for years not all attempts are kept, nor what the servers said each time.
  static constexpr std::size_t kMostTold = 1000, kMostToldWholly = 32;

  // The end of what never starts, where the engine must not be touched.
  void Refuse(absl::Status status) {
    std::unique_lock lock(mutex_);
    state_ = State::kEnded;
    info_.reason = CallInfo::Reason::kPermanent;
    detail::AttachCallInfo(status, info_, Name());
    if (spec_.options.info != nullptr) *spec_.options.info = info_;
    status_ = status;
    wire::Payload gone = std::exchange(spec_.request, {});
    lock.unlock();
    Complete(std::move(status), std::move(gone));
  }

  // Memory of the caller's stays the call's until gRPC has let go of it. Who has it last says so from within gRPC, so
  // that the end comes through the loop.
  void Complete(absl::Status status, wire::Payload gone) {
    if (lends()) {
      gone = {};
      const bool waits =
          lends_->OnReturn([self = detail::Ref<Call>(this)] { self->loop_.Arm(self->loan_timer_, TimePoint::min()); });
      if (waits) return;
    }
    OnEnd(std::move(status));
  }

  const RetryPolicy& retry_policy() const {
    return spec_.options.retry.has_value() ? *spec_.options.retry : engine_->options().retry;
  }
  TimePoint Deadline() const {
    TimePoint deadline = After(started_, spec_.timeout);
    if (spec_.options.parent != nullptr) {
      const auto wall = spec_.options.parent->deadline();
      if (wall != std::chrono::system_clock::time_point::max()) {
        deadline = (std::min)(deadline, After(started_, absl::FromChrono(wall) - absl::Now()));
      }
    }
    return deadline;
  }
  absl::Duration HedgeDelay() const {
    if (hedge_ == nullptr) return absl::InfiniteDuration();
    if (!hedge_->percentile.has_value()) return hedge_->delay;
    const auto quantile = engine_->Latencies(spec_.path).Quantile(*hedge_->percentile);
    return quantile.has_value() ? (std::max)(*quantile, absl::Milliseconds(1)) : hedge_->delay;
  }
  absl::Status DeadlineError() const {
    // As it was given, where it is not a parent's time that is up.
    const bool own = plan_->deadline() == After(started_, spec_.timeout);
    const absl::Duration given = own ? spec_.timeout : Between(started_, plan_->deadline());
    if (given <= absl::ZeroDuration()) {
      return detail::DeadlineExceededError(detail::Cat("the timeout is ", absl::FormatDuration(given)));
    }
    return detail::DeadlineExceededError(detail::Cat("no end within the timeout of ", absl::FormatDuration(given)));
  }
  absl::Status AttemptTimeoutError() const {
    return detail::DeadlineExceededError(
        detail::Cat(Lacking(), " within the attempt_timeout of ", absl::FormatDuration(attempt_timeout_)));
  }

  // ---- connections by which nothing comes

  // What is larger may be on its way for long, and is not sent twice on a suspicion.
  static constexpr std::size_t kLarge = std::size_t{1} << 20;

  // Whether connections are looked at. They live by the machine's clock, not by a test's.
  bool MayLook() const { return engine_->clock() == nullptr && spec_.request.size() <= kLarge && !plan_->answered(); }
  // Whether it could go on by another connection.
  bool MayLeaveConnection() const {
    return Watches() || (idempotent_ && retry_policy().max_attempts > 1 && !Committed());
  }
  void LookLater(TimePoint now, TimePoint due) {
    if (MayLook()) looks_.Begin(now, (std::min)(Between(now, due), LongestWait()));
  }
  Look LookAt(const Attempt& attempt, TimePoint now) {
    return {attempt.heard_before(), attempt.quiet_since(), looks_.patience(), now, engine_->AsyncLoop()};
  }
  void ArmTimer() { loop_.Arm(timer_, (std::min)({plan_->due(), gate_due_, looks_.due()})); }

  // Looks whether the connections of those that wait are alive, and has another attempt try a new one where they are
  // not. The old one goes on, since it may have its answer yet, unless the two could not be told apart. True where that
  // ended the call.
  bool TakePulse(std::unique_lock<std::mutex>& lock, TimePoint now) {
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
    if (MayHedge() && !Unprepared() && !Watches()) {
      return plan_->MayAdd(now) && StartAttempt(lock, now, /*hedge=*/true);
    }
    Suspect(*dead, status);
    return OnFailure(lock, *dead, std::move(status), /*over=*/false);
  }
  // It has waited in vain: adds to `status` what was seen of its connection. What comes next where another attempt does
  // may go by another one.
  void Suspect(Attempt& attempt, absl::Status& status, bool moves_on = false) {
    Look look = LookAt(attempt, Now());
    look.moves_on = moves_on;
    const std::string doubt = attempt.Doubt(look);
    if (doubt.empty()) return;
    moves_on_ = moves_on;
    status = detail::Reworded(status, detail::Cat(detail::ToStd(status.message()), "; ", doubt));
  }

  AttemptList::iterator Find(int number) {
    return std::find_if(running_.begin(), running_.end(), [&](Attempt* a) { return a->number() == number; });
  }

  // Without the lock, since it may be passed here and now.
  void WaitAtGate(std::unique_lock<std::mutex> lock) {
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
  // Without effect where the call went on without. Takes the lock over.
  void Pass(std::unique_lock<std::mutex> lock, absl::Status status) {
    if (state_ != State::kStarted || spec_.gate == nullptr) return;
    if (!status.ok()) return End(std::move(lock), std::move(status), CallInfo::Reason::kPermanent);
    const std::shared_ptr<Gate> gate = std::exchange(spec_.gate, nullptr);  // ends behind the lock
    gate_due_ = TimePoint::max();
    Begin(std::move(lock), Now());
  }
  // Takes the lock over.
  void Begin(std::unique_lock<std::mutex> lock, TimePoint now) {
    if (token() != nullptr) return FetchToken(std::move(lock));
    StartAttempt(lock, now, /*hedge=*/false);
  }

  // The call's own, or the client's, unless the call brings an authorization of its own.
  const BearerToken* token() const {
    if (spec_.options.token.has_value()) return &*spec_.options.token;
    if (!engine_->options().token.has_value()) return nullptr;
    return wire::Has(spec_.options.metadata, wire::kAuthorization) ? nullptr : &*engine_->options().token;
  }
  // The first attempt starts once there is a token. Without the lock, since its function may run here and now.
  void FetchToken(std::unique_lock<std::mutex> lock) {
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
  void OnToken(absl::Status status) override {
    std::unique_lock lock(mutex_);
    waits_for_token_ = false;
    Resume(std::move(lock), std::move(status));
  }

  bool StartAttempt(std::unique_lock<std::mutex>& lock, TimePoint now, bool hedge) {
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

  // What is nearer to the attempt stands in for what is farther of the same key: what the observer adds, the call's
  // own, the client's. So for tokens, which are an entry of the key "authorization".
  void AddMetadata(Attempt& attempt, const Metadata& observed) const {
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
  }

  // `over`: it ended by itself, so that its context may be asked; else it is given up now.
  bool OnFailure(std::unique_lock<std::mutex>& lock, Attempt& attempt, absl::Status status, bool over) {
    const TimePoint now = Now();
    const int number = attempt.number();
    const std::optional<Opinion> opinion = std::exchange(opinion_, std::nullopt);
    if (opinion.has_value()) Fault(opinion->fault);
    // What cuts an attempt off when its time is up is its deadline, whoever comes to it first, and whatever it says. A
    // connection that never was says more than that.
    const bool due = !plan_->answered() && attempt.due() != TimePoint::max() && now + Early(attempt) >= attempt.due();
    const bool out_of_time =
        due && (status.code() == absl::StatusCode::kDeadlineExceeded ||
                (over && attempt.ToldWhenDue() && wire::CutOff(status) && !attempt.NeverReached(status.code())));
    const bool timed_out = out_of_time && attempt.due() < plan_->deadline();
    if (out_of_time && over) {
      status = detail::DeadlineExceededError(detail::Cat(
          detail::ToStd((timed_out ? AttemptTimeoutError() : DeadlineError()).message()), "; the server said ",
          absl::StatusCodeToString(status.code()), ": ", detail::ToStd(status.message())));
    }
    policy::Failure failure;
    failure.accompanied = attempt.given_up();
    failure.begun = Unprepared();
    failure.whose = std::hash<const void*>()(&spec_.path) * 31 + std::hash<std::string>()(attempt.target());
    info_.details.clear();
    if (out_of_time && !over) Suspect(attempt, status, /*moves_on=*/timed_out);  // while it has its place
    if (over) {
      info_.details = attempt.details();
      failure.pushback = attempt.pushback(info_.details);
      failure.reached_server = !attempt.NeverReached(status.code());
      attempt.TellMetadata(info_);
    } else {
      info_.initial_metadata.clear();
      info_.trailing_metadata.clear();
    }
    const bool anothers = over && attempt.PerhapsAnothers();
    alone_ = alone_ || anothers;
    failure.anothers = anothers && attempt.ServerWorks();
    const auto retryable = [&] { return opinion.has_value() ? opinion->retryable : Asked(AskRetryable(status)); };
    // Where the call's time is up nobody needs to be asked.
    failure.retryable =
        !Committed() && !wire::MessageTooLarge(status) && (timed_out || anothers || (!out_of_time && retryable()));
    const bool draining =
        over && (opinion.has_value() ? opinion->draining : Asked(AskDraining(status))) && engine_->pool().size() > 1;
    const bool failed = out_of_time || draining || attempt.ServerFailed(status.code());
    const channel::Verdict verdict = !failure.reached_server ? channel::Verdict::kUnreached
                                     : failed                ? channel::Verdict::kFailed
                                                             : channel::Verdict::kAnswered;
    reached_server_ = reached_server_ || failure.reached_server;
    if (draining) {
      failure.retryable = !Committed();
      failure.reached_server = false;  // none that would have begun
    }
    if (status.code() == absl::StatusCode::kUnauthenticated && token() != nullptr) token()->Reject(sent_token_);
    Settle(attempt, verdict, status, failure.pushback);
    running_.erase(Find(number));
    if (running_.empty()) looks_.Stop();
    if (!over) attempt.Abandon();  // which may be its end
    if (EndIfFaulty(lock)) return true;
    if (out_of_time && !timed_out) {
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

  // The user's functions, under the lock. What they throw is the call's end, at the next chance.

  template <class Fn>
  void TellObserver(const char* function, Fn fn) {
    Fault(detail::InvokeUser(function, fn));
  }
  // False where it throws.
  bool Asked(absl::StatusOr<bool> answer) const {
    Fault(answer.status());
    return answer.value_or(false);
  }
  // These two without the lock as well.
  absl::StatusOr<bool> AskRetryable(const absl::Status& status) const {
    const RetryPolicy& policy = retry_policy();
    if (!policy.retry_if) return policy.retryable_codes.contains(status.code());
    return detail::InvokeUser("RetryPolicy::retry_if", [&] { return policy.retry_if(status); });
  }
  absl::StatusOr<bool> AskDraining(const absl::Status& status) const {
    if (spec_.draining == nullptr) return false;
    return detail::InvokeUser("the contract's Draining", [&] { return spec_.draining(status); });
  }
  double Random() const {
    const absl::StatusOr<double> drawn = engine_->Random();
    Fault(drawn.status());
    return drawn.value_or(0);
  }
  void OnClockFault(const absl::Status& fault) override { Fault(fault); }

  static absl::Status AnsweredElsewhere() { return detail::CancelledError("another attempt answered first"); }

  void GiveUpOthers(Attempt& attempt) {
    if (running_.size() == 1) return;
    for (Attempt* other : running_) {
      if (other != &attempt) GiveUp(*other, channel::Verdict::kNone, AnsweredElsewhere());
    }
    running_.assign(1, &attempt);
  }
  void GiveUp(Attempt& attempt, channel::Verdict verdict, const absl::Status& status) {
    Settle(attempt, verdict, status, std::nullopt);
    attempt.Abandon();
  }
  // An attempt is over for the call: its target is judged by it, and whoever wants to know is told. Gives what it took.
  absl::Duration Settle(Attempt& attempt, channel::Verdict verdict, const absl::Status& status,
                        std::optional<absl::Duration> pushback) {
    const TimePoint now = Now();
    const absl::Duration latency = Between(attempt.started(), now);
    attempt.Judge(verdict, Timed() ? std::make_optional(latency) : std::nullopt, now);
    if (status.ok() && !telling_) return latency;
    CallInfo::Attempt told = {attempt.target(), attempt.peer(),  status.code(), detail::WhatWasSaid(status),
                              latency,          attempt.hedge(), pushback};
    if (observer_ != nullptr) {
      TellObserver("CallObserver::AttemptEnded", [&] { observer_->AttemptEnded(attempt.number(), told); });
    }
    const auto number = static_cast<std::size_t>(attempt.number());
    if (number >= kMostTold) return latency;
    if (number >= kMostToldWholly) told.message.clear();
    if (info_.attempts.size() <= number) info_.attempts.resize(number + 1);
    info_.attempts[number] = std::move(told);
    return latency;
  }

  // What was called, and where: "acme.Scorer/Score at a:1, b:2".
  std::string Name() const {
    constexpr std::size_t kMost = 4;
    std::string out = spec_.path.substr(spec_.path.starts_with('/') ? 1 : 0);
    std::vector<std::string_view> targets;
    for (const CallInfo::Attempt& attempt : info_.attempts) {
      if (std::find(targets.begin(), targets.end(), attempt.target) == targets.end()) targets.push_back(attempt.target);
    }
    if (targets.empty()) return out + ", not sent";
    for (std::size_t i = 0; i < (std::min)(targets.size(), kMost); ++i) {
      out += detail::Cat(i == 0 ? " at " : ", ", targets[i]);
    }
    if (targets.size() > kMost) out += detail::Cat(" and ", targets.size() - kMost, " more");
    return out;
  }
  // "connection refused (3 attempts to 2 targets in 412ms; gave up: attempts)", with the whole story attached. The text
  // is the server's; where it said nothing, it is what was called.
  absl::Status Explain(const absl::Status& status) const {
    const bool silent = status.message().empty();
    std::string message = silent ? Name() + ": the server gave no message" : std::string(status.message());
    const int attempts = plan_->started();
    const bool plain = info_.reason == CallInfo::Reason::kPermanent || info_.reason == CallInfo::Reason::kCancelled;
    if (attempts > 1 || !plain) {
      std::set<std::string_view> targets;
      for (const CallInfo::Attempt& attempt : info_.attempts) targets.insert(attempt.target);
      absl::StrAppend(&message, " (", attempts, attempts == 1 ? " attempt" : " attempts", " to ", targets.size(),
                      targets.size() == 1 ? " target" : " targets", " in ",
                      absl::FormatDuration(absl::Trunc(info_.latency, absl::Milliseconds(1))),
                      "; gave up: ", detail::ToAbsl(ReasonName(info_.reason)), ")");
    }
    absl::Status out = detail::Reworded(status, message);
    out.ErasePayload(detail::kSaidUrl);
    detail::AttachCallInfo(out, info_,
                           silent ? detail::Cat(attempts, attempts == 1 ? " attempt" : " attempts") : Name());
    return out;
  }

  const detail::Ref<wire::Loan> lends_;
  Timer timer_, loan_timer_;
  mutable absl::Status fault_;  // of the first of the user's functions that failed
  const TimePoint started_;
  const HedgePolicy* hedge_ = nullptr;
  std::optional<policy::Plan> plan_;
  TimePoint gate_due_ = TimePoint::max();  // when it waits at the gate no longer
  AttemptList running_;
  // What the user's functions said of the error that an attempt ends with, where they were asked before.
  struct Opinion {
    bool retryable = false;
    bool draining = false;
    absl::Status fault;
  };
  std::optional<Opinion> opinion_;
  Looks looks_;
  bool moves_on_ = false;                         // from a connection by which nothing came
  const channel::Target* last_target_ = nullptr;  // only compared
  absl::Status cancelled_;
  std::shared_ptr<const detail::Secret> sent_token_;
  bool reached_server_ = false;
  bool waits_for_token_ = false;
  bool alone_ = false;    // shares no stream any more: one has ended, perhaps by another request
  bool telling_ = false;  // somebody wants to know, also of a success
  CallInfo info_;
  std::unique_ptr<CallObserver> observer_;
  std::optional<std::stop_callback<OnStop>> stop_;
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_CALL_H_
