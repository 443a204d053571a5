// SPDX-License-Identifier: Apache-2.0
//
// The one attempt engine: it does what a call's plan says, and ends every call once.
#ifndef INFERWIRE_DETAIL_ENGINE_CALL_H_
#define INFERWIRE_DETAIL_ENGINE_CALL_H_

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
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/secret.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/keeper.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/call_report.h"
#include "inferwire/detail/engine/effective_options.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/silence.h"
#include "inferwire/detail/engine/stream_mux.h"
#include "inferwire/detail/engine/validate.h"
#include "inferwire/detail/policy/affinity.h"
#include "inferwire/detail/policy/classify.h"
#include "inferwire/detail/policy/hedge.h"
#include "inferwire/detail/policy/plan.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/executor.h"
#include "inferwire/observe/observer.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
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
    detail::Ref<StreamMux> mux = {};
    std::string id = {};
    /// Set for the own call of a stream that others share: it must go to this target, and its outcome does not count in
    /// the target's health, since the requests on it do.
    std::shared_ptr<channel::Target> target = nullptr;
    /// What it waits for before anything is sent, if for something.
    std::shared_ptr<Gate> gate = nullptr;
    /// Looks at each message first, see CallRequest.
    Inspect inspect = nullptr;
  };

  /// Starts the call, or ends it at once with `ready` if that is an error: bad input ends as every call does.
  void Start(absl::Status ready);

  void Cancel(absl::Status why) override;

  void OnTimer(Timer& timer) override;

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
        effective_(Resolve(engine_->options(), spec_.options)),
        idempotent_(effective_.idempotent),
        affinity_(spec_.options.affinity.empty() ? 0 : policy::HashOf(spec_.options.affinity.text())),
        lends_(spec_.request.loan()),
        timer_(*this, engine_->clock()),
        loan_timer_(*this),
        started_(Now()),
        report_(spec_.path) {}

  /// The call has started; its first attempt may have to wait. Under the lock.
  virtual void OnStarted() {}
  /// An exchange that is about to start. Under the lock.
  virtual Attempt* NewAttempt(int number, TimePoint now, TimePoint due) = 0;
  /// A target for it.
  channel::Lease PickTarget(TimePoint now);
  /// Whether the next attempt needs a request that is yet to be made; BuildRequest then has OnRequestBuilt called once
  /// it is.
  virtual bool NeedsNewRequest() const { return false; }
  /// Takes the lock over.
  virtual void BuildRequest(std::unique_lock<std::mutex> /*lock*/) {}
  /// Takes the lock over.
  void OnRequestBuilt(std::unique_lock<std::mutex> lock, absl::Status prepared) {
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
  void Help();
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
  TimePoint Now() const;
  /// What counts as now for a timer that fires.
  TimePoint AsOf(const Timer& timer) const { return engine_->clock() != nullptr ? Now() : timer.as_of(); }
  TimePoint started() const { return started_; }
  TimePoint deadline() const { return plan_->deadline(); }
  /// What the next attempt asks of a stream that it may share.
  MuxedAttempt::Terms muxed_terms() const { return {.alone = alone_, .repeatable = idempotent_}; }
  /// Whether an attempt that failed had, for all that is known, reached a server.
  bool reached_server() const { return reached_server_; }
  /// Whether the caller ended it.
  bool cancelled() const { return report_.info().reason == CallInfo::Reason::kCancelled; }
  /// Whether the request refers to memory of the caller's.
  bool lends() const { return static_cast<bool>(lends_); }
  const auto& running() const { return running_; }
  bool Running(const Attempt& attempt) const {
    return std::find(running_.begin(), running_.end(), &attempt) != running_.end();
  }
  /// A message came, behind which it may be gone on.
  void ResetRetries(TimePoint now) { plan_->ResetRetries(now); }
  /// From now on only this attempt counts: a part of its answer is used.
  void Commit(Attempt& attempt) {
    GiveUpOthers(attempt);
    plan_->Commit(attempt.number());
    attempt.set_due(plan_->deadline());
  }
  /// It goes forward, though it is not answered yet.
  void RestartAttemptTimeout(Attempt& attempt) {
    if (effective_.attempt_timeout != absl::InfiniteDuration())
      attempt.set_due(plan_->Restart(attempt.number(), Now()));
  }
  /// What a message says that has just come of an attempt that runs: an error, if it tells one. Under the lock.
  absl::Status InspectReply(const wire::Reply& reply) {
    return spec_.inspect ? detail::InvokeUser("the contract's Inspect", [&] { return spec_.inspect(reply); })
                         : absl::OkStatus();
  }
  bool answered() const { return state_ == State::kStarted && plan_->answered(); }
  /// Its whole answer is there: until OnAttemptEnd no time counts any more, and no other attempt starts.
  void Answered(Attempt& attempt) {
    GiveUpOthers(attempt);
    plan_->Answered(attempt.number());
  }

  /// Whether what an error means is for functions of the user's to say, which take what time they like.
  bool AsksUser() const { return effective_.retry.retry_if || (spec_.draining != nullptr && spec_.foreign); }
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
  void OnAttemptEnd(std::unique_lock<std::mutex> lock, Attempt& attempt, absl::Status status);

  /// The single end. Takes the lock over.
  void End(std::unique_lock<std::mutex> lock, absl::Status status, CallInfo::Reason reason);

  const detail::OfOneProcess origin_;
  const std::shared_ptr<Engine> engine_;
  Loop& loop_;
  Spec spec_;
  const EffectiveOptions effective_;
  bool idempotent_;               // what cannot be sent twice is not, whatever the options say
  const std::uint64_t affinity_;  // of the key that calls go to one target by; 0: none
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

  // The end of what never starts, where the engine must not be touched.
  void Refuse(absl::Status status);

  // Memory of the caller's stays the call's until gRPC has let go of it. Who has it last says so from within gRPC, so
  // that the end comes through the loop.
  void Complete(absl::Status status, wire::Payload gone);

  TimePoint Deadline() const;
  absl::Duration HedgeDelay() const;
  absl::Status DeadlineError() const;
  absl::Status AttemptTimeoutError() const {
    return detail::DeadlineExceededError(
        detail::Cat(Lacking(), " within the attempt_timeout of ", absl::FormatDuration(effective_.attempt_timeout)));
  }

  // ---- connections by which nothing comes

  // What is larger may be on its way for long, and is not sent twice on a suspicion.
  static constexpr std::size_t kLarge = std::size_t{1} << 20;

  // Whether connections are looked at. They live by the machine's clock, not by a test's.
  bool MayLook() const { return engine_->clock() == nullptr && spec_.request.size() <= kLarge && !plan_->answered(); }
  // Whether it could go on by another connection.
  bool MayLeaveConnection() const {
    return Watches() || (idempotent_ && effective_.retry.max_attempts > 1 && !Committed());
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
  bool TakePulse(std::unique_lock<std::mutex>& lock, TimePoint now);
  // It has waited in vain: adds to `status` what was seen of its connection. What comes next where another attempt does
  // may go by another one.
  void Suspect(Attempt& attempt, absl::Status& status, bool moves_on = false);

  AttemptList::iterator Find(int number) {
    return std::find_if(running_.begin(), running_.end(), [&](Attempt* a) { return a->number() == number; });
  }

  // Without the lock, since it may be passed here and now.
  void WaitAtGate(std::unique_lock<std::mutex> lock);
  // Without effect where the call went on without. Takes the lock over.
  void Pass(std::unique_lock<std::mutex> lock, absl::Status status);
  // Takes the lock over.
  void Begin(std::unique_lock<std::mutex> lock, TimePoint now) {
    if (token() != nullptr) return FetchToken(std::move(lock));
    StartAttempt(lock, now, /*hedge=*/false);
  }

  const BearerToken* token() const { return effective_.token; }
  // The first attempt starts once there is a token. Without the lock, since its function may run here and now.
  void FetchToken(std::unique_lock<std::mutex> lock);
  void OnToken(absl::Status status) override {
    std::unique_lock lock(mutex_);
    waits_for_token_ = false;
    OnRequestBuilt(std::move(lock), std::move(status));
  }

  bool StartAttempt(std::unique_lock<std::mutex>& lock, TimePoint now, bool hedge);

  // What is nearer to the attempt stands in for what is farther of the same key: what the observer adds, the call's
  // own, the client's. So for tokens, which are an entry of the key "authorization".
  void AddMetadata(Attempt& attempt, const Metadata& observed) const;

  // `over`: it ended by itself, so that its context may be asked; else it is given up now.
  bool OnFailure(std::unique_lock<std::mutex>& lock, Attempt& attempt, absl::Status status, bool over);

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
    const RetryPolicy& policy = effective_.retry;
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

  static channel::Outcome OutcomeOf(policy::Blame blame);
  void LearnAffinity(const Attempt& attempt) const {
    const std::string& header = engine_->options().affinity_header;
    if (affinity_ == 0 || header.empty()) return;
    // What a server says is sent again only where it may be: gRPC aborts the process on some values.
    if (std::optional<std::string> token = attempt.ReadHeader(header);
        token.has_value() && wire::ValidateMetadata({{header, *token}}).ok()) {
      engine_->affinities().Learn(std::string(spec_.options.affinity.text()), *std::move(token));
    }
  }
  static absl::Status AnsweredElsewhere() { return detail::CancelledError("another attempt answered first"); }

  void GiveUpOthers(Attempt& attempt);
  void GiveUp(Attempt& attempt, channel::Outcome verdict, const absl::Status& status) {
    RecordAttempt(attempt, verdict, status, std::nullopt);
    attempt.Abandon();
  }
  // Tells the target how an attempt ended, and records the attempt in the report. Returns its latency.
  absl::Duration RecordAttempt(Attempt& attempt, channel::Outcome verdict, const absl::Status& status,
                               std::optional<absl::Duration> pushback);

  const detail::Ref<wire::Loan> lends_;
  Timer timer_, loan_timer_;
  mutable absl::Status fault_;  // of the first of the user's functions that failed
  const TimePoint started_;
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
  bool alone_ = false;  // shares no stream any more: one has ended, perhaps by another request
  CallReport report_;
  bool report_wanted_ = false;  // CallOptions::info or an observer wants the report even on success
  std::unique_ptr<CallObserver> observer_;
  std::optional<std::stop_callback<OnStop>> stop_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#include "inferwire/detail/engine/call_course.h"   // IWYU pragma: keep
#include "inferwire/detail/engine/call_failure.h"  // IWYU pragma: keep

#endif  // INFERWIRE_DETAIL_ENGINE_CALL_H_
