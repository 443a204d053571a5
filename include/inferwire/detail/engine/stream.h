// SPDX-License-Identifier: Apache-2.0
//
// The streaming forms: messages read ahead within bounds, writes queued within bounds, one status at the end.
#ifndef INFERWIRE_DETAIL_ENGINE_STREAM_H_
#define INFERWIRE_DETAIL_ENGINE_STREAM_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/idle_limits.h"
#include "inferwire/detail/engine/message_window.h"
#include "inferwire/detail/engine/stream_mux.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/executor.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

class StreamCall : public Call, public StreamHandle {
 public:
  using Form = StreamForm;
  using ResumeFunction = engine::ResumeFunction;

  struct Terms {
    Form form = Form::kServerStream;
    absl::Duration idle_timeout = absl::InfiniteDuration();
    absl::Duration first_message_timeout = absl::InfiniteDuration();
    ResumeFunction resume = nullptr;  ///< without it, what broke after its first message stays broken
    /// It waits for what may never come, and ends with UNAVAILABLE when its connection turns out to be dead.
    bool watches = false;
  };

  StreamCall(std::shared_ptr<Engine> engine, Loop& loop, Spec&& spec, Terms terms)
      : Call(std::move(engine), loop, std::move(spec)),
        terms_(std::move(terms)),
        idle_(terms_.idle_timeout),
        idle_timer_(*this, engine_->clock()),
        first_message_timer_(*this, engine_->clock()) {
    // What was written went to one server; only a call that never reached one may go to another.
    if (terms_.form == Form::kOpen) idempotent_ = false;
  }

  // Reading. One reader at a time; it and a writer may be different threads.

  /// Takes the next message if there is one.
  ReadState TryRead(wire::Reply* reply) override {
    if (foreign()) return ReadState::kEnded;
    std::unique_lock lock(mutex_);
    return TryReadLocked(reply);
  }
  /// Waits for the next message; false at the end.
  bool Read(wire::Reply* reply) override;
  /// Calls `resume` once a message or the end is available: on the executor, or, if `in_place`, on the completing
  /// thread. Returns false, without keeping `resume`, if one is available now.
  bool OnReadable(absl::AnyInvocable<void()> resume, bool in_place = false);
  /// The same for a coroutine that a thread waits for, or for which none does (null).
  bool OnReadable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) override;
  void ForgetReader() override {
    if (foreign()) return;
    std::lock_guard lock(mutex_);
    reader_.resume = nullptr;
    StopWaiting();
  }

  // Writing. One writer at a time.

  /// Queues a message if the write window has room; otherwise leaves it.
  WriteState TryWrite(wire::Payload& payload) override {
    if (foreign()) return WriteState::kEnded;
    std::lock_guard lock(mutex_);
    return TryWriteLocked(payload);
  }
  /// Waits for room in the write window. FAILED_PRECONDITION after WritesDone; the server's status once it ended the
  /// call.
  absl::Status Write(wire::Payload payload) override;
  /// Queues a message beyond the window, for a writer that bounds itself; false, and the message is left, once the call
  /// has ended or was half-closed.
  bool WriteBeyond(wire::Payload& payload);
  bool OnWritable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) override;
  void ForgetWriter() override {
    if (foreign()) return;
    std::lock_guard lock(mutex_);
    writer_.resume = nullptr;
    idle_.Stop(IdleLimits::kRoom);
  }
  /// Why a write was not taken.
  absl::Status WriteError() override {
    if (foreign()) return detail::ForkedError();
    std::lock_guard lock(mutex_);
    return WriteErrorLocked();
  }
  /// Half-closes once what was queued is sent. A second time does nothing; after the end, as Write.
  absl::Status WritesDone() override;

  /// What has arrived so far, and when.
  StreamStats Stats() override {
    if (foreign()) return {};
    std::lock_guard lock(mutex_);
    return inbox_.Stats(started());
  }
  /// Of the attempt that runs, empty where there is none.
  std::string Peer() {
    std::lock_guard lock(mutex_);
    return running().empty() ? std::string() : running().front()->peer();
  }
  // For those who share it: as Attempt has them, of the attempt that runs.
  std::uint64_t Heard() {
    std::lock_guard lock(mutex_);
    return running().empty() ? 0 : running().front()->heard();
  }
  Pulse TakePulse(const Look& look) {
    std::lock_guard lock(mutex_);
    return running().empty() ? Pulse::kHeard : running().front()->TakePulse(look);
  }
  std::string Doubt(const Look& look) {
    std::lock_guard lock(mutex_);
    return running().empty() ? std::string() : running().front()->Doubt(look);
  }
  /// Whether, once the call has ended with an error, it had reached a server for all that is known.
  bool ReachedServer() {
    std::lock_guard lock(mutex_);
    return reached_server();
  }
  /// The server's, once a message has come or the call has ended; of the attempt that gave it.
  Metadata InitialMetadata() override {
    if (foreign()) return {};
    std::lock_guard lock(mutex_);
    return initial_metadata_;
  }

  /// The server's, once the call has ended by itself.
  Metadata TrailingMetadata() override {
    if (foreign()) return {};
    std::lock_guard lock(mutex_);
    return trailing_metadata_;
  }

  // The end.

  void Cancel(absl::Status why) override { Call::Cancel(std::move(why)); }
  bool OfForeignClient() const override { return of_foreign_client(); }
  /// OK while it runs, then the final status; which is known already where a message could not be understood.
  absl::Status status() override {
    if (foreign()) return detail::ForkedError();
    std::lock_guard lock(mutex_);
    return over_ || !failure_.ok() ? StatusLocked() : absl::OkStatus();
  }
  /// Half-closes, discards what is not read, and waits for the end.
  absl::Status Drain() override;
  /// Cancels, and returns when nothing of the user's runs (Terms::resume) or is read (lent memory) any more.
  void Drop(const char* why) override;
  /// A message could not be understood: ends the call with `why`, or replaces the OK with which it ended.
  void Fail(absl::Status why) override;

 private:
  // What may be held unread says MessageWindow. Of what shares a stream with others it may have to be more, so that
  // those who wait are served.
  static constexpr std::size_t kMostUnreadBytes = std::size_t{64} << 20;

  class RpcCall;    // a gRPC call of its own
  class MuxedRead;  // on a stream with others

  // It counts from the start of the call, whatever the attempts, and whatever they wait for.
  void OnStarted() override {
    if (terms_.first_message_timeout != absl::InfiniteDuration()) {
      loop_.Arm(first_message_timer_, After(started(), terms_.first_message_timeout));
    }
  }
  Attempt* NewAttempt(int number, TimePoint now, TimePoint due) override;
  bool Committed() const override { return committed_ && terms_.resume == nullptr; }
  bool Watches() const override { return terms_.watches; }
  const char* Lacking() const override { return "no message"; }
  absl::Duration LongestWait() const override { return (std::min)(terms_.idle_timeout, terms_.first_message_timeout); }
  // Of a session it may be the server that waits.
  bool Waits() const override {
    return terms_.form != Form::kOpen || waiting_ || outbox_.half_closed() || !outbox_.has_room();
  }
  bool Timed() const override { return false; }  // a long answer is not a slow one
  bool MayHedge() const override { return terms_.form == Form::kServerStream && !spec_.mux; }
  void Tell(CallInfo& info) const override { info.stream = inbox_.Stats(started()); }

  bool NeedsNewRequest() const override { return committed_; }
  void BuildRequest(std::unique_lock<std::mutex> lock) override;

  // A coroutine that waits, or whoever else is to be told.
  struct Waiter {
    absl::AnyInvocable<void()> resume;
    std::shared_ptr<Executor> elsewhere;  // than on the client's executor
    bool in_place = false;
    bool wake = false;    // once the lock is released
    bool posted = false;  // to the executor
  };

  // All below are under the lock.

  // Whether this thread may wait; where not, the call is ended, and the lock open.
  bool MayBlock(std::unique_lock<std::mutex>& lock, const char* function);
  // Does what the executor was given and has not begun, where this is a thread of it: all of them may be waiting.
  bool DoExecutorsPart(std::unique_lock<std::mutex>& lock);
  // The same by a thread that waits for a coroutine.
  void HandOver(Executor& elsewhere) {
    elsewhere.Run([job = prepare_] { job->Claim(); });
  }
  std::shared_ptr<Executor> Elsewhere(detail::SyncWaiter* waiter) {
    return waiter != nullptr ? waiter->InPlaceOf(engine_->executor()) : nullptr;
  }
  // Whether a coroutine may wait that `waiter` waits for; where not, the call is ended. Without the lock.
  bool MayWait(detail::SyncWaiter* waiter) {
    if (waiter == nullptr) return true;
    absl::Status may = detail::MayBlock("SyncWait", waiter->thread());
    may.ok() ? Help() : Fail(may);
    return may.ok();
  }

  // Nothing more is sent or received.
  bool Ended() const { return state_ == State::kEnded; }
  absl::Status StatusLocked() const { return failure_.ok() ? status_ : failure_; }
  bool Readable() const { return !inbox_.empty() || over_; }
  bool Writable() const { return outbox_.has_room() || Ended() || outbox_.half_closed(); }

  ReadState TryReadLocked(wire::Reply* reply);

  void Deliver(Attempt& attempt, wire::Reply reply);
  void PumpReads();
  template <class Fn>
  void ForMuxed(Fn fn);

  WriteState TryWriteLocked(wire::Payload& payload);
  absl::Status WriteErrorLocked() const {
    if (absl::Status status = StatusLocked(); !status.ok()) return status;
    if (Ended())
      return detail::FailedPreconditionError("the server has ended the call with OK; nothing more can be written");
    return detail::FailedPreconditionError("nothing can be written after WritesDone");
  }
  void PumpWrites();

  void WakeReader() {
    readable_.notify_all();
    StopWaiting();  // it has what it waited for, whenever it comes to look
    if (reader_.resume != nullptr) reader_.wake = true;
  }
  void WakeWriter() {
    writable_.notify_all();
    idle_.Stop(IdleLimits::kRoom);
    if (writer_.resume != nullptr) writer_.wake = true;
  }
  // Coroutines are handed to the executor without the lock: it may run them at once.
  void Unlock(std::unique_lock<std::mutex> lock);
  // The waiter stays registered until the executor comes to it, so that a coroutine destroyed meanwhile is not resumed;
  // and if another took its place, that one is resumed only if there is reason to.
  void Post(Waiter StreamCall::* which);

  void StartLimit(IdleLimits::Wait wait) { StartLimit(wait, Now()); }
  void StartLimit(IdleLimits::Wait wait, TimePoint now) {
    if (over_) return;
    if (const auto due = idle_.Start(wait, now); due.has_value()) loop_.Arm(idle_timer_, *due);
  }
  void StartWaiting();
  void StopWaiting();
  // The server took a message or sent one: who waits for room or for the end waits anew. So does who waits for the
  // answer to all that was written, as long as some of that is under way.
  void Moved(TimePoint now) {
    for (const IdleLimits::Wait wait : {IdleLimits::kRoom, IdleLimits::kEnd}) {
      if (idle_.counts(wait)) StartLimit(wait, now);
    }
    if (outbox_.half_closed() && idle_.counts(IdleLimits::kMessage)) StartLimit(IdleLimits::kMessage, now);
  }
  // The server took a message, where it had not yet sent one.
  void Took(Attempt& attempt) {
    Moved(Now());
    if (terms_.form == Form::kOpen && inbox_.delivered() == 0) RestartAttemptTimeout(attempt);
  }
  void OnOtherTimer(std::unique_lock<std::mutex> lock, Timer& timer) override;

  void OnEnd(absl::Status) override;

  Terms terms_;
  Inbox<wire::Reply> inbox_;
  Outbox<wire::Payload> outbox_;
  IdleLimits idle_;
  std::condition_variable readable_, writable_;
  Waiter reader_, writer_;
  Timer idle_timer_, first_message_timer_;
  Metadata initial_metadata_, trailing_metadata_;
  bool waiting_ = false;  // a reader does
  bool committed_ = false;
  wire::Reply last_;                  // last message handed out; input of Terms::resume
  detail::Ref<detail::Job> prepare_;  // that runs Terms::resume, until it is begun
  std::thread::id preparing_;         // who runs it
  bool room_ = true;                  // last value passed to SetBacklogged, negated
  bool over_ = false;                 // the end was told
  absl::Status failure_;              // of a message that could not be understood; takes precedence over the status
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#include "inferwire/detail/engine/stream_attempts.h"  // IWYU pragma: keep
#include "inferwire/detail/engine/stream_ends.h"      // IWYU pragma: keep

#endif  // INFERWIRE_DETAIL_ENGINE_STREAM_H_
