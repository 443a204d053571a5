// SPDX-License-Identifier: Apache-2.0
//
// The one attempt engine: deadline, attempts, waits between them, cancellation, and the single end of every call.
#ifndef INFERWIRE_ENGINE_CALL_H_
#define INFERWIRE_ENGINE_CALL_H_

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/call_options.h"
#include "inferwire/channel/channel.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/clock.h"
#include "inferwire/engine/engine.h"
#include "inferwire/engine/loop.h"
#include "inferwire/policy/retry.h"
#include "inferwire/status.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// One call, whatever its form: attempts on channels until one succeeds, the policy says stop, time is up or the caller
/// cancels; then OnEnd, exactly once. The forms add what one attempt is and what its end gives.
///
/// Threads: completions and timers come from whoever turns the loop, Cancel from anywhere. All state is under `mutex_`.
/// gRPC reports through the loop alone, never from within a call to it, so operations are started under the lock.
class Call : public TimerOwner, public Cancellable {
 public:
  /// What all attempts share.
  struct Spec {
    const std::string& path;  // of Rpc<>: lives as long as the process
    wire::Payload request;
    CallOptions options;
    absl::Duration timeout;
    absl::Duration attempt_timeout;
  };

  /// Starts the call, or ends it at once with `ready` if that is an error: bad input ends as every call does.
  void Start(absl::Status ready) {
    started_ = Now();
    deadline_ = After(started_, spec_.timeout);
    if (ready.ok()) ready = wire::ValidateMetadata(spec_.options.metadata);
    if (ready.ok() && !engine_->Register(*this)) ready = absl::FailedPreconditionError("the client was shut down");
    if (ready.ok() && spec_.options.stop.stop_possible()) {
      stop_.emplace(spec_.options.stop, OnStop{this});  // may cancel at once; the call is not started then
    }
    std::unique_lock lock(mutex_);
    state_ = State::kWaiting;
    if (!ready.ok()) return End(std::move(lock), std::move(ready), CallInfo::Reason::kPermanent);
    if (!cancelled_.ok()) return End(std::move(lock), std::move(cancelled_), CallInfo::Reason::kCancelled);
    if (deadline_ <= started_) {
      return End(std::move(lock),
                 absl::DeadlineExceededError(detail::Cat("the timeout is ", absl::FormatDuration(spec_.timeout))),
                 CallInfo::Reason::kDeadline);
    }
    BeginAttempt(started_);
  }

  void Cancel(absl::Status why) override {
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
    if (state_ == State::kEnded) return;
    if (&timer != &timer_) return OnOtherTimer(std::move(lock), timer);
    const TimePoint now = Now();
    if (now < due_) return;  // set anew while it was firing
    if (state_ == State::kWaiting) return BeginAttempt(now);
    // gRPC does not keep a deadline against a peer that stopped reading, so this one is ours.
    const bool total = due_ == deadline_;
    EndAttempt(
        std::move(lock),
        absl::DeadlineExceededError(detail::Cat("no end within the ", total ? "timeout of " : "attempt_timeout of ",
                                                absl::FormatDuration(total ? spec_.timeout : spec_.attempt_timeout))),
        nullptr);
  }

 protected:
  enum class State { kCreated, kWaiting, kAttempting, kEnded };

  /// One exchange with one server. It belongs to its operations in the completion queue and destroys itself after the
  /// last of them; the call only refers to it, and forgets it when it gives it up.
  class Attempt {
   public:
    Attempt(Call& call, channel::Channel& channel, TimePoint now, TimePoint deadline)
        : call_(&call), channel_(channel), started_(now) {
      if (deadline != TimePoint::max()) context_.set_deadline(ToTimespec(now, deadline));
      for (const auto& [key, value] : call.engine_->options().metadata) context_.AddMetadata(key, value);
      for (const auto& [key, value] : call.spec_.options.metadata) context_.AddMetadata(key, value);
    }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    virtual ~Attempt() = default;

    /// Starts its operations. Under the call's lock.
    virtual void Start() = 0;
    /// Given up: to be cancelled, its end is of no interest. Under the call's lock.
    virtual void Abandon() { context_.TryCancel(); }

    grpc::ClientContext& context() { return context_; }
    const channel::Channel& channel() const { return channel_; }

   protected:
    friend class Call;
    const detail::Ref<Call> call_;  // keeps the channel too
    channel::Channel& channel_;
    const TimePoint started_;
    grpc::ClientContext context_;
  };

  Call(std::shared_ptr<Engine> engine, Loop& loop, Spec spec)
      : engine_(std::move(engine)),
        loop_(loop),
        spec_(std::move(spec)),
        retry_(engine_->options().retry, spec_.options.idempotent.value_or(engine_->options().idempotent)),
        timer_(*this) {}

  /// An exchange that is about to start. Under the lock.
  virtual Attempt* NewAttempt(channel::Channel& channel, TimePoint now, TimePoint deadline) = 0;
  /// Whether another attempt is out of the question, since a part of this one was handed out. Under the lock.
  virtual bool Committed() const { return false; }
  /// A timer of the form's own. Takes the lock over.
  virtual void OnOtherTimer(std::unique_lock<std::mutex> lock, Timer& timer) = 0;
  /// The end, once. Without the lock.
  virtual void OnEnd(absl::Status status) = 0;

  Attempt* current() const { return attempt_; }
  bool Current(const Attempt& attempt) const { return attempt_ == &attempt; }

  /// An attempt ended by itself. Takes the lock over; without effect where the call had given it up.
  void OnAttemptEnd(std::unique_lock<std::mutex> lock, Attempt& attempt, absl::Status status) {
    if (Current(attempt)) EndAttempt(std::move(lock), std::move(status), &attempt.context());
  }

  /// The single end. Takes the lock over.
  void End(std::unique_lock<std::mutex> lock, absl::Status status, CallInfo::Reason reason) {
    state_ = State::kEnded;
    loop_.Disarm(timer_);
    if (attempt_ != nullptr) {
      Record(*attempt_, status);
      std::exchange(attempt_, nullptr)->Abandon();
    }
    if (!status.ok() || spec_.options.info != nullptr) {
      info_.reason = reason;
      info_.latency = Between(started_, Now());
      if (spec_.options.info != nullptr) *spec_.options.info = info_;
      if (!status.ok()) status = Explain(status);
    }
    status_ = status;
    lock.unlock();
    stop_.reset();  // waits for a callback that runs elsewhere, hence without the lock
    engine_->Unregister(*this);
    OnEnd(std::move(status));
  }

  const std::shared_ptr<Engine> engine_;
  Loop& loop_;
  const Spec spec_;
  std::mutex mutex_;
  State state_ = State::kCreated;
  absl::Status status_;  // OK until the end, then the final one

 private:
  struct OnStop {
    Call* call;
    void operator()() const { call->Cancel(absl::CancelledError("cancelled by the caller's stop token")); }
  };

  void BeginAttempt(TimePoint now) {
    channel::Channel& channel = engine_->channels().Pick(last_channel_);
    last_channel_ = &channel;
    due_ = (std::min)(deadline_, After(now, spec_.attempt_timeout));
    state_ = State::kAttempting;
    attempt_ = NewAttempt(channel, now, due_);
    ++attempts_;
    // In between, since the loop's lock is what shows the attempt's memory to the thread that will take its operations
    // off the queue, without relying on how gRPC hands them over.
    loop_.Arm(timer_, due_);
    attempt_->Start();
  }

  /// `context` is that of an attempt that has ended by itself; without one it is given up now.
  void EndAttempt(std::unique_lock<std::mutex> lock, absl::Status status, grpc::ClientContext* context) {
    Attempt& attempt = *attempt_;
    const TimePoint now = Now();
    if (!status.ok() || spec_.options.info != nullptr) {
      Record(attempt, status);
      info_.initial_metadata.clear();
      info_.trailing_metadata.clear();
      if (context != nullptr) {
        info_.initial_metadata = wire::FromGrpc(context->GetServerInitialMetadata());
        info_.trailing_metadata = wire::FromGrpc(context->GetServerTrailingMetadata());
      }
    }
    attempt_ = nullptr;
    if (context == nullptr) attempt.Abandon();
    if (status.ok()) return End(std::move(lock), std::move(status), CallInfo::Reason::kNone);

    const bool timed_out = status.code() == absl::StatusCode::kDeadlineExceeded && now >= due_ && due_ < deadline_;
    const policy::Decision decision =
        retry_.OnFailure({status.code(), timed_out, Committed(), Between(now, deadline_)}, engine_->Random());
    if (!decision.retry) return End(std::move(lock), std::move(status), decision.reason);
    state_ = State::kWaiting;
    due_ = After(now, decision.delay);
    loop_.Arm(timer_, due_);
  }

  void Record(Attempt& attempt, const absl::Status& status) {
    info_.attempts.push_back({attempt.channel().target(), attempt.context().peer(), status.code(),
                              std::string(status.message()), Between(attempt.started_, Now())});
  }

  // "connection refused (3 attempts to 2 targets in 412ms; gave up: attempts)", with the whole story attached.
  absl::Status Explain(const absl::Status& status) const {
    std::string message(status.message());
    const bool plain = info_.reason == CallInfo::Reason::kPermanent || info_.reason == CallInfo::Reason::kCancelled;
    if (attempts_ > 1 || !plain) {
      std::set<std::string_view> targets;
      for (const CallInfo::Attempt& attempt : info_.attempts) targets.insert(attempt.target);
      absl::StrAppend(&message, " (", attempts_, attempts_ == 1 ? " attempt" : " attempts", " to ", targets.size(),
                      targets.size() == 1 ? " target" : " targets", " in ",
                      absl::FormatDuration(absl::Trunc(info_.latency, absl::Milliseconds(1))),
                      "; gave up: ", detail::ToAbsl(ReasonName(info_.reason)), ")");
    }
    absl::Status out(status.code(), message);
    status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
    detail::AttachCallInfo(out, info_);
    return out;
  }

  policy::Retry retry_;
  Timer timer_;
  TimePoint started_;
  TimePoint deadline_;
  TimePoint due_;  // what timer_ is set to: the attempt's deadline, or the end of the wait
  int attempts_ = 0;
  Attempt* attempt_ = nullptr;
  const channel::Channel* last_channel_ = nullptr;
  absl::Status cancelled_;
  CallInfo info_;
  std::optional<std::stop_callback<OnStop>> stop_;
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_CALL_H_
