// SPDX-License-Identifier: Apache-2.0
//
// The streaming forms: messages read ahead within bounds, writes queued within bounds, one status at the end.
#ifndef INFERWIRE_ENGINE_STREAM_H_
#define INFERWIRE_ENGINE_STREAM_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "inferwire/detail/error.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/attempt.h"
#include "inferwire/engine/call.h"
#include "inferwire/engine/carrier.h"
#include "inferwire/engine/door.h"
#include "inferwire/executor.h"
#include "inferwire/policy/latency.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
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
  bool Read(wire::Reply* reply) override {
    if (foreign()) return false;
    std::unique_lock lock(mutex_);
    ReadState state = TryReadLocked(reply);
    if (state != ReadState::kWait) return state == ReadState::kMessage;
    if (!MayBlock(lock, "Read")) return false;
    while ((state = TryReadLocked(reply)) == ReadState::kWait) {
      if (!waiting_) StartWaiting();
      if (!DoExecutorsPart(lock)) readable_.wait(lock);
    }
    StopWaiting();
    return state == ReadState::kMessage;
  }
  /// Has `resume` run on the executor, or, if `in_place`, wherever that is known, once TryRead will not say kWait;
  /// false, and nothing kept, if it does not say so now.
  bool OnReadable(absl::AnyInvocable<void()> resume, bool in_place = false) {
    if (foreign()) return false;
    std::lock_guard lock(mutex_);
    if (Readable()) return false;
    reader_.resume = std::move(resume);
    reader_.in_place = in_place;
    StartWaiting();
    return true;
  }
  /// The same for a coroutine that a thread waits for, or for which none does (null).
  bool OnReadable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) override {
    if (foreign() || !MayWait(waiter)) return false;
    std::lock_guard lock(mutex_);
    if (Readable()) return false;
    reader_.resume = std::move(resume);
    reader_.in_place = false;
    reader_.elsewhere = Elsewhere(waiter);
    if (reader_.elsewhere != nullptr && prepare_) HandOver(*reader_.elsewhere);
    StartWaiting();
    return true;
  }
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
  absl::Status Write(wire::Payload payload) override {
    if (foreign()) return detail::ForkedError();
    std::unique_lock lock(mutex_);
    for (bool helped = false;; helped = true) {
      const WriteState state = TryWriteLocked(payload);
      if (state == WriteState::kTaken) return absl::OkStatus();
      if (state == WriteState::kEnded) return WriteErrorLocked();
      if (helped) {
        if (!taking_.counts) StartLimit(taking_);
        writable_.wait(lock);
        continue;
      }
      if (absl::Status may = detail::MayBlock("Write"); !may.ok()) return may;
      lock.unlock();
      Help();
      lock.lock();
    }
  }
  /// Queues a message beyond the window, for a writer that bounds itself; false, and the message is left, once the call
  /// has ended or was half-closed.
  bool WriteBeyond(wire::Payload& payload) {
    std::lock_guard lock(mutex_);
    if (Ended() || half_closed_) return false;
    outbox_bytes_ += payload.size();
    outbox_.push_back(std::move(payload));
    PumpWrites();
    return true;
  }
  bool OnWritable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) override {
    if (foreign() || !MayWait(waiter)) return false;
    std::lock_guard lock(mutex_);
    if (Writable()) return false;
    writer_.resume = std::move(resume);
    writer_.elsewhere = Elsewhere(waiter);
    StartLimit(taking_);
    return true;
  }
  void ForgetWriter() override {
    if (foreign()) return;
    std::lock_guard lock(mutex_);
    writer_.resume = nullptr;
    taking_.counts = false;
  }
  /// Why a write was not taken.
  absl::Status WriteError() override {
    if (foreign()) return detail::ForkedError();
    std::lock_guard lock(mutex_);
    return WriteErrorLocked();
  }
  /// Half-closes once what was queued is sent. A second time does nothing; after the end, as Write.
  absl::Status WritesDone() override {
    if (foreign()) return detail::ForkedError();
    std::lock_guard lock(mutex_);
    if (Ended()) return half_closed_ && StatusLocked().ok() ? absl::OkStatus() : WriteErrorLocked();
    half_closed_ = true;
    PumpWrites();
    return absl::OkStatus();
  }

  /// What has arrived so far, and when.
  StreamStats Stats() override {
    if (foreign()) return {};
    std::lock_guard lock(mutex_);
    return StatsLocked();
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
  absl::Status Drain() override {
    if (foreign()) return detail::ForkedError();
    std::unique_lock lock(mutex_);
    half_closed_ = true;
    discard_ = true;
    DropMessages();
    if (!Ended()) {
      PumpWrites();
      PumpReads();
    }
    if (!over_ && !MayBlock(lock, "Finish")) {
      lock.lock();
      return StatusLocked();
    }
    StartLimit(ending_);
    while (!over_) {
      if (!DoExecutorsPart(lock)) readable_.wait(lock);
    }
    return StatusLocked();
  }
  /// Cancels, and returns when nothing of the user's runs (Terms::resume) or is read (lent memory) any more.
  void Drop(const char* why) override {
    if (foreign()) return;
    Cancel(detail::CancelledError(why));
    if (lends() && detail::CurrentThread().serves_grpc) {
      ServeUntil([this] {
        std::lock_guard lock(mutex_);
        return over_;
      });
    }
    std::unique_lock lock(mutex_);
    if (lends()) readable_.wait(lock, [this] { return over_; });
    if (preparing_ == std::thread::id() || preparing_ == std::this_thread::get_id()) return;
    const detail::UserCodeWait wait(preparing_);
    if (wait.may()) readable_.wait(lock, [this] { return preparing_ == std::thread::id(); });
  }
  /// A message could not be understood: ends the call with `why`, or replaces the OK with which it ended.
  void Fail(absl::Status why) override {
    if (foreign()) return;
    {
      std::lock_guard lock(mutex_);
      DropMessages();
      failure_ = why;
    }
    Cancel(std::move(why));
  }

 private:
  // What may be held unread before the server is made to wait: enough to keep a fast consumer busy while the next
  // messages arrive, little enough to hold a thousand streams. One message may be of any size.
  static constexpr std::size_t kReadAheadMessages = 16;
  static constexpr std::size_t kReadAheadBytes = std::size_t{4} << 20;
  // Of what shares a stream with others it may have to be more, so that those who wait are served.
  static constexpr std::size_t kMostUnreadBytes = std::size_t{64} << 20;
  static constexpr std::size_t kWriteWindowMessages = 16;
  static constexpr std::size_t kWriteWindowBytes = std::size_t{4} << 20;

  class OwnCall final : public RpcAttempt {
   public:
    OwnCall(StreamCall& call, int number, TimePoint now, TimePoint due)
        : RpcAttempt(call, call.engine_->options(), call.spec_.options, call.PickTarget(now), number, now, due,
                     /*told=*/call.deadline(), call.idempotent_, call.lends()) {}

    void Start() override {
      // Corked, a whole request travels with the headers, in one batch.
      context_.set_initial_metadata_corked(call().terms_.form == Form::kServerStream);
      stream_ = stub().PrepareCall(&context_, call().spec_.path, call().loop_.queue());
      ++operations_;
      writing_ = true;
      if (call().terms_.form == Form::kServerStream) {
        stream_->StartCall(nullptr);
        stream_->WriteLast(call().spec_.request, grpc::WriteOptions(), &written_);
      } else {
        stream_->StartCall(&written_);
      }
      StartRead();
    }

    void Abandon() override {
      gone_ = true;
      RpcAttempt::Abandon();
      FinishIfDue();
    }

    /// A write failed: the exchange is over, but its status comes after the messages.
    bool read_to_the_end = false;

    bool reading() const { return reading_ || reads_ended_; }
    bool writing() const { return writing_; }

    void StartRead() {
      reading_ = true;
      ++operations_;
      stream_->Read(&incoming_, &read_);
    }
    void StartWrite(const wire::Payload& payload) {
      writing_ = true;
      ++operations_;
      stream_->Write(payload, &written_);  // serialised here and now
    }
    void StartHalfClose() {
      writing_ = true;
      ++operations_;
      stream_->WritesDone(&written_);
    }

   private:
    using Step = void (OwnCall::*)(std::unique_lock<std::mutex>, bool);
    class Operation final : public Tag {
     public:
      Operation(OwnCall& attempt, Step step) : attempt_(attempt), step_(step) {}
      void Proceed(bool ok) override {
        OwnCall& attempt = attempt_;
        const detail::Ref<TimerOwner> call = attempt.call_;  // the attempt, this with it, may end in the step
        (attempt.*step_)(std::unique_lock(attempt.call().mutex_), ok);
      }

     private:
      OwnCall& attempt_;
      const Step step_;
    };

    StreamCall& call() const { return static_cast<StreamCall&>(*call_); }

    void OnWritten(std::unique_lock<std::mutex> lock, bool ok) {
      writing_ = false;
      if (call().Running(*this)) {
        if (!ok) read_to_the_end = true;
        if (ok) call().Took(*this);
        ok ? call().PumpWrites() : call().PumpReads();
      }
      Leave(std::move(lock));
    }
    void OnRead(std::unique_lock<std::mutex> lock, bool ok) {
      reading_ = false;
      if (ok) HearMessage(incoming_.size());
      if (!ok) {
        reads_ended_ = true;
      } else if (call().Running(*this)) {
        if (!committed_) {
          committed_ = true;
          call().Commit(*this);
          call().initial_metadata_ = wire::FromGrpc(context_.GetServerInitialMetadata());
        }
        call().Deliver(*this, std::exchange(incoming_, wire::Reply()));
      }
      FinishIfDue();
      Leave(std::move(lock));
    }
    void OnFinished(std::unique_lock<std::mutex> lock, bool) {
      HearEnd();
      if (call().Running(*this)) {
        call().trailing_metadata_ = wire::FromGrpc(context_.GetServerTrailingMetadata());
      }
      if (!status_.ok() && call().AsksUser() && call().Running(*this)) {
        lock.unlock();
        return call().OnAttemptEndApart(*this, ended(), Out(*this));
      }
      const Out out(*this);
      call().OnAttemptEnd(std::move(lock), *this, ended());
    }
    // The last operation to come back destroys the attempt: a write may still be out after the stream's end.
    class Out {
     public:
      explicit Out(OwnCall& attempt) : attempt_(&attempt) {}
      Out(Out&& other) noexcept : attempt_(std::exchange(other.attempt_, nullptr)) {}
      Out& operator=(Out&&) = delete;
      ~Out() {
        if (attempt_ == nullptr) return;
        const detail::Ref<TimerOwner> call = attempt_->call_;
        std::unique_lock lock(attempt_->call().mutex_);
        const bool last = --attempt_->operations_ == 0;
        lock.unlock();
        if (last) delete attempt_;
      }

     private:
      OwnCall* attempt_;
    };
    // Every exchange reaches Finish, and no read may be out then.
    void FinishIfDue() {
      if (reading_ || finishing_ || !(reads_ended_ || gone_)) return;
      finishing_ = true;
      stream_->Finish(&status_, &finished_);
    }
    void Leave(std::unique_lock<std::mutex> lock) {
      const bool last = --operations_ == 0;
      call().Unlock(std::move(lock));
      if (last) delete this;
    }

    Operation written_{*this, &OwnCall::OnWritten};
    Operation read_{*this, &OwnCall::OnRead};
    Operation finished_{*this, &OwnCall::OnFinished};
    wire::Reply incoming_;
    std::unique_ptr<grpc::ClientAsyncReaderWriter<wire::Payload, wire::Reply>> stream_;
    int operations_ = 1;  // in the completion queue; Finish counts from the start, since reads pause
    bool writing_ = false;
    bool reading_ = false;
    bool reads_ended_ = false;
    bool committed_ = false;
    bool finishing_ = false;
    bool gone_ = false;
  };

  class Ride final : public Rider {
   public:
    Ride(StreamCall& call, int number, TimePoint now, TimePoint due)
        : Rider(call, call.PickTarget(now), call.spec_.carrier, call.spec_.id, call.spec_.request, call.rider_terms(),
                number, now, due) {}

    void Start() override {
      Rider::Start();
      SetFull(!call().room_);
      SetHungry(call().waiting_);
    }
    void OnMessage(wire::Reply&& message, const Label& label) override {
      std::unique_lock lock(call().mutex_);
      if (!call().Running(*this)) return;
      if (!label.error.ok()) return Fail(std::move(lock), label.error);
      if (!label.empty) {
        call().Commit(*this);
        call().Deliver(*this, std::move(message));
      }
      if (label.last) return call().OnAttemptEnd(std::move(lock), *this, absl::OkStatus());
      if (call().ready_bytes_ > kMostUnreadBytes) {
        return call().End(
            std::move(lock),
            detail::ResourceExhaustedError(
                detail::Cat("more than ", kMostUnreadBytes, " bytes were not read, on a stream that others wait for")),
            CallInfo::Reason::kPermanent);
      }
      call().Unlock(std::move(lock));
    }
    void OnBroken(const absl::Status& status) override { Fail(std::unique_lock(call().mutex_), status); }
    void SetFull(bool full) { carriage()->SetFull(*this, full); }
    void SetHungry(bool hungry) { carriage()->SetHungry(*this, hungry); }

   private:
    StreamCall& call() const { return static_cast<StreamCall&>(*call_); }
    void Fail(std::unique_lock<std::mutex> lock, const absl::Status& status) {
      if (!call().AsksUser()) return call().OnAttemptEnd(std::move(lock), *this, status);
      lock.unlock();
      call().OnAttemptEndApart(*this, status, shared_from_this());
    }
  };

  // It counts from the start of the call, whatever the attempts, and whatever they wait for.
  void OnStarted() override {
    if (terms_.first_message_timeout != absl::InfiniteDuration()) {
      loop_.Arm(first_message_timer_, After(started(), terms_.first_message_timeout));
    }
  }
  Attempt* NewAttempt(int number, TimePoint now, TimePoint due) override {
    if (spec_.carrier) return new Ride(*this, number, now, due);
    return new OwnCall(*this, number, now, due);
  }
  bool Committed() const override { return committed_ && terms_.resume == nullptr; }
  bool Watches() const override { return terms_.watches; }
  const char* Lacking() const override { return "no message"; }
  absl::Duration LongestWait() const override { return (std::min)(terms_.idle_timeout, terms_.first_message_timeout); }
  // Of a session it may be the server that waits.
  bool Waits() const override { return terms_.form != Form::kOpen || waiting_ || half_closed_ || !HasRoom(); }
  bool Timed() const override { return false; }  // a long answer is not a slow one
  bool MayHedge() const override { return terms_.form == Form::kServerStream && !spec_.carrier; }
  void Tell(CallInfo& info) const override { info.stream = StatsLocked(); }

  bool Unprepared() const override { return committed_; }
  void Prepare(std::unique_lock<std::mutex> lock) override {
    Executor& executor = engine_->executor();
    const auto job = detail::MakeRef<detail::Job>(executor, [self = detail::Ref<StreamCall>(this)](absl::Status taken) {
      std::unique_lock again(self->mutex_);
      self->prepare_ = {};
      if (self->Ended()) return;
      if (!taken.ok()) return self->Resume(std::move(again), std::move(taken));
      self->preparing_ = std::this_thread::get_id();
      wire::Reply last = self->last_.Copy();
      again.unlock();
      absl::StatusOr<wire::Payload> request = self->terms_.resume(std::move(last));
      again.lock();
      self->preparing_ = std::thread::id();
      self->readable_.notify_all();
      if (self->Ended()) return;
      absl::Status prepared = request.status();
      if (request.ok()) self->spec_.request = *std::move(request);
      self->Resume(std::move(again), std::move(prepared));
    });
    prepare_ = job;
    if (reader_.elsewhere != nullptr) HandOver(*reader_.elsewhere);
    readable_.notify_all();  // who waits on a thread of the executor does it himself
    lock.unlock();
    detail::Hand(executor, job);
  }

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
  bool MayBlock(std::unique_lock<std::mutex>& lock, const char* function) {
    absl::Status may = detail::MayBlock(function);
    lock.unlock();
    may.ok() ? Help() : Fail(may);
    if (may.ok()) lock.lock();
    return may.ok();
  }
  // Does what the executor was given and has not begun, where this is a thread of it: all of them may be waiting.
  bool DoExecutorsPart(std::unique_lock<std::mutex>& lock) {
    if (!prepare_ || !detail::CurrentThread().Runs(engine_->executor())) return false;
    const detail::Ref<detail::Job> job = std::exchange(prepare_, {});
    lock.unlock();
    job->Claim();
    lock.lock();
    return true;
  }
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
  bool Readable() const { return !ready_.empty() || over_; }
  bool Writable() const { return HasRoom() || Ended() || half_closed_; }

  ReadState TryReadLocked(wire::Reply* reply) {
    if (!ready_.empty()) {
      const bool had_room = HasReadRoom();
      *reply = std::move(ready_.front());
      ready_.pop_front();
      ready_bytes_ -= reply->size();
      if (!had_room) PumpReads();  // else it is reading
      return ReadState::kMessage;
    }
    return over_ ? ReadState::kEnded : ReadState::kWait;
  }

  StreamStats StatsLocked() const {
    StreamStats out;
    out.messages = delivered_;
    if (delivered_ > 0) out.first_message = Between(started(), first_delivery_);
    if (gaps_ != nullptr) {
      out.gap_p50 = gaps_->Quantile(0.5, 1);
      out.gap_p99 = gaps_->Quantile(0.99, 1);
      const double seconds = absl::ToDoubleSeconds(Between(first_delivery_, last_delivery_));
      if (seconds > 0) out.messages_per_second = static_cast<double>(delivered_ - 1) / seconds;
    }
    return out;
  }

  void Deliver(Attempt& attempt, wire::Reply reply) {
    committed_ = true;
    const TimePoint now = Now();
    if (terms_.resume != nullptr) {
      last_ = reply.Copy();
      Progress(now);
    }
    attempt.Listen(now);
    if (delivered_++ == 0) {
      first_delivery_ = now;
      if (terms_.first_message_timeout != absl::InfiniteDuration()) loop_.Disarm(first_message_timer_);
    } else {
      if (gaps_ == nullptr) gaps_ = std::make_unique<policy::LatencyHistogram>();
      gaps_->Add(Between(last_delivery_, now));
    }
    last_delivery_ = now;
    Moved();
    if (!discard_) {
      ready_bytes_ += reply.size();
      ready_.push_back(std::move(reply));
      WakeReader();
    }
    PumpReads();
  }
  bool HasReadRoom() const {
    return ready_.empty() || (ready_.size() < kReadAheadMessages && ready_bytes_ < kReadAheadBytes);
  }
  void PumpReads() {
    const bool room = HasReadRoom();
    if (spec_.carrier) {
      if (std::exchange(room_, room) != room) ForRide([&](Ride& ride) { ride.SetFull(!room); });
      return;
    }
    for (Attempt* running : this->running()) {
      auto& attempt = static_cast<OwnCall&>(*running);
      if (!attempt.reading() && (room || attempt.read_to_the_end)) attempt.StartRead();
    }
  }
  void DropMessages() {
    ready_.clear();
    ready_bytes_ = 0;
  }
  template <class Fn>
  void ForRide(Fn fn) {
    if (spec_.carrier && !running().empty()) fn(static_cast<Ride&>(*running().front()));
  }

  bool HasRoom() const {
    return outbox_.empty() || (outbox_.size() < kWriteWindowMessages && outbox_bytes_ < kWriteWindowBytes);
  }
  WriteState TryWriteLocked(wire::Payload& payload) {
    if (Ended() || half_closed_) return WriteState::kEnded;
    if (!HasRoom()) return WriteState::kWait;
    outbox_bytes_ += payload.size();
    outbox_.push_back(std::move(payload));
    PumpWrites();
    return WriteState::kTaken;
  }
  absl::Status WriteErrorLocked() const {
    if (absl::Status status = StatusLocked(); !status.ok()) return status;
    if (Ended())
      return detail::FailedPreconditionError("the server has ended the call with OK; nothing more can be written");
    return detail::FailedPreconditionError("nothing can be written after WritesDone");
  }
  void PumpWrites() {
    if (terms_.form != Form::kOpen || running().empty()) return;
    auto& attempt = static_cast<OwnCall&>(*running().front());  // the only one
    if (attempt.writing() || attempt.read_to_the_end) return;
    if (!outbox_.empty()) {
      const wire::Payload payload = std::move(outbox_.front());
      outbox_.pop_front();
      outbox_bytes_ -= payload.size();
      committed_ = true;
      attempt.StartWrite(payload);
      WakeWriter();
    } else if (half_closed_ && !std::exchange(half_close_sent_, true)) {
      committed_ = true;
      attempt.StartHalfClose();
    }
  }

  void WakeReader() {
    readable_.notify_all();
    StopWaiting();  // it has what it waited for, whenever it comes to look
    if (reader_.resume != nullptr) reader_.wake = true;
  }
  void WakeWriter() {
    writable_.notify_all();
    taking_.counts = false;
    if (writer_.resume != nullptr) writer_.wake = true;
  }
  // Coroutines are handed to the executor without the lock: it may run them at once.
  void Unlock(std::unique_lock<std::mutex> lock) {
    absl::AnyInvocable<void()> in_place;
    bool reader = std::exchange(reader_.wake, false);
    if (reader && reader_.in_place) {
      in_place = std::exchange(reader_.resume, nullptr);
      reader = false;
    }
    reader = reader && !std::exchange(reader_.posted, true);
    const bool writer = std::exchange(writer_.wake, false) && !std::exchange(writer_.posted, true);
    lock.unlock();
    if (in_place) in_place();
    if (reader) Post(&StreamCall::reader_);
    if (writer) Post(&StreamCall::writer_);
  }
  // The waiter stays registered until the executor comes to it, so that a coroutine destroyed meanwhile is not resumed;
  // and if another took its place, that one is resumed only if there is reason to.
  void Post(Waiter StreamCall::* which) {
    std::shared_ptr<Executor> elsewhere;
    {
      std::lock_guard lock(mutex_);
      elsewhere = (this->*which).elsewhere;
    }
    Executor& executor = elsewhere != nullptr ? *elsewhere : engine_->executor();
    detail::RunOn(executor, [self = detail::Ref<StreamCall>(this), which](const absl::Status& taken) {
      if (!taken.ok()) self->Fail(taken);
      std::unique_lock lock(self->mutex_);
      Waiter& waiter = (*self).*which;
      waiter.posted = false;
      if (which == &StreamCall::reader_ ? !self->Readable() : !self->Writable()) return;
      absl::AnyInvocable<void()> resume = std::exchange(waiter.resume, nullptr);
      lock.unlock();
      if (resume) resume();
    });
  }

  // What the idle timeout bounds. It counts while somebody waits for it.
  struct Limit {
    bool counts = false;
    TimePoint due;
  };
  // The timer is not moved at each wait, but looks at what is due when it fires.
  void StartLimit(Limit& limit) {
    if (over_ || terms_.idle_timeout == absl::InfiniteDuration()) return;
    limit = {true, After(Now(), terms_.idle_timeout)};
    if (!std::exchange(idle_armed_, true)) loop_.Arm(idle_timer_, limit.due);
  }
  void StartWaiting() {
    waiting_ = true;
    ForRide([](Ride& ride) { ride.SetHungry(true); });
    StartLimit(reading_);
  }
  void StopWaiting() {
    if (!std::exchange(waiting_, false)) return;
    ForRide([](Ride& ride) { ride.SetHungry(false); });
    reading_.counts = false;
  }
  // The server took a message or sent one: who waits for room or for the end waits anew. So does who waits for the
  // answer to all that was written, as long as some of that is under way.
  void Moved() {
    for (Limit* const limit : {&taking_, &ending_}) {
      if (limit->counts) StartLimit(*limit);
    }
    if (half_closed_ && reading_.counts) StartLimit(reading_);
  }
  // The server took a message, where it had not yet sent one.
  void Took(Attempt& attempt) {
    Moved();
    if (terms_.form == Form::kOpen && delivered_ == 0) RestartAttemptTimeout(attempt);
  }
  void OnOtherTimer(std::unique_lock<std::mutex> lock, Timer& timer) override {
    if (&timer == &first_message_timer_) {
      if (delivered_ > 0) return;
      return End(std::move(lock),
                 detail::DeadlineExceededError(detail::Cat("no message within the first_message_timeout of ",
                                                           absl::FormatDuration(terms_.first_message_timeout))),
                 CallInfo::Reason::kDeadline);
    }
    idle_armed_ = false;
    const TimePoint now = AsOf(timer);
    TimePoint next = TimePoint::max();
    const std::pair<const Limit&, const char*> limits[] = {
        {reading_, "no message"}, {taking_, "nothing taken or sent by the server"}, {ending_, "no message and no end"}};
    for (const auto& [limit, lacking] : limits) {
      if (!limit.counts) continue;
      if (now >= limit.due) {
        return End(std::move(lock),
                   detail::DeadlineExceededError(
                       detail::Cat(lacking, " within the idle_timeout of ", absl::FormatDuration(terms_.idle_timeout))),
                   CallInfo::Reason::kDeadline);
      }
      next = (std::min)(next, limit.due);
    }
    if (next == TimePoint::max()) return;
    idle_armed_ = true;
    loop_.Arm(idle_timer_, next);
  }

  void OnEnd(absl::Status) override {
    std::unique_lock lock(mutex_);
    over_ = true;
    outbox_.clear();
    outbox_bytes_ = 0;
    loop_.Disarm(idle_timer_);
    if (terms_.first_message_timeout != absl::InfiniteDuration()) loop_.Disarm(first_message_timer_);
    // After a cancellation nobody wants what had arrived.
    if (cancelled()) DropMessages();
    WakeReader();
    WakeWriter();
    Unlock(std::move(lock));
  }

  Terms terms_;
  std::deque<wire::Reply> ready_;
  std::size_t ready_bytes_ = 0;
  std::deque<wire::Payload> outbox_;
  std::size_t outbox_bytes_ = 0;
  std::condition_variable readable_, writable_;
  Waiter reader_, writer_;
  Timer idle_timer_, first_message_timer_;
  std::int64_t delivered_ = 0;
  TimePoint first_delivery_, last_delivery_;
  std::unique_ptr<policy::LatencyHistogram> gaps_;  // with the second message
  Metadata initial_metadata_, trailing_metadata_;
  Limit reading_;  // a reader's wait for a message
  Limit taking_;   // a writer's wait for room
  Limit ending_;   // Drain's wait for the end
  bool idle_armed_ = false;
  bool waiting_ = false;  // a reader does
  bool committed_ = false;
  wire::Reply last_;                  // delivered, where it may be gone on behind it
  detail::Ref<detail::Job> prepare_;  // that runs Terms::resume, until it is begun
  std::thread::id preparing_;         // who runs it
  bool room_ = true;                  // as the carriage was told
  bool over_ = false;                 // the end was told
  bool discard_ = false;
  bool half_closed_ = false;
  bool half_close_sent_ = false;
  absl::Status failure_;  // of a message that could not be understood; outdoes how the call ends
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_STREAM_H_
