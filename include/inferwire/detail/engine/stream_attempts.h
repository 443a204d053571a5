// SPDX-License-Identifier: Apache-2.0
//
// The attempts of a stream: a gRPC call of its own, or a request on a stream with others; and what the call has them
// do.
#ifndef INFERWIRE_DETAIL_ENGINE_STREAM_ATTEMPTS_H_
#define INFERWIRE_DETAIL_ENGINE_STREAM_ATTEMPTS_H_

#include <absl/status/status.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/message_window.h"
#include "inferwire/detail/engine/stream.h"
#include "inferwire/detail/engine/stream_mux.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

class StreamCall::RpcCall final : public RpcAttempt {
 public:
  RpcCall(StreamCall& call, int number, TimePoint now, TimePoint due)
      : RpcAttempt(call, call.engine_->options(), call.spec_.options, call.effective_.compression, call.PickTarget(now),
                   number, now, due,
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

  bool reading() const { return reading_ || reads_ended_ || told_in_band(); }
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
  using Step = void (RpcCall::*)(std::unique_lock<std::mutex>, bool);
  class Operation final : public Tag {
   public:
    Operation(RpcCall& attempt, Step step) : attempt_(attempt), step_(step) {}
    void Proceed(bool ok) override {
      RpcCall& attempt = attempt_;
      const detail::Ref<TimerOwner> call = attempt.call_;  // the attempt, this with it, may end in the step
      (attempt.*step_)(std::unique_lock(attempt.call().mutex_), ok);
    }

   private:
    RpcCall& attempt_;
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
      if (absl::Status said = call().InspectReply(incoming_); !said.ok())
        return EndInBand(std::move(lock), std::move(said));
      incoming_.set_attempt(number());
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
  void EndInBand(std::unique_lock<std::mutex> lock, absl::Status said) {
    set_told_in_band();
    incoming_ = wire::Reply();
    if (call().AsksUser()) {
      lock.unlock();
      return call().OnAttemptEndApart(*this, std::move(said), Out(*this));
    }
    const Out out(*this);
    call().OnAttemptEnd(std::move(lock), *this, std::move(said));
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
    explicit Out(RpcCall& attempt) : attempt_(&attempt) {}
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
    RpcCall* attempt_;
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

  Operation written_{*this, &RpcCall::OnWritten};
  Operation read_{*this, &RpcCall::OnRead};
  Operation finished_{*this, &RpcCall::OnFinished};
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

class StreamCall::MuxedRead final : public MuxedAttempt {
 public:
  MuxedRead(StreamCall& call, int number, TimePoint now, TimePoint due)
      : MuxedAttempt(call, call.PickTarget(now), call.spec_.mux, call.spec_.id, call.spec_.request, call.muxed_terms(),
                     number, now, due) {}

  void Start() override {
    MuxedAttempt::Start();
    SetBacklogged(!call().room_);
    SetWaiting(call().waiting_);
  }
  void OnMessage(wire::Reply&& message, const ReplyTag& label) override {
    std::unique_lock lock(call().mutex_);
    if (!call().Running(*this)) return;
    if (!label.error.ok()) return Fail(std::move(lock), label.error);
    if (!label.empty) {
      call().Commit(*this);
      call().Deliver(*this, std::move(message));
    }
    if (label.last) return call().OnAttemptEnd(std::move(lock), *this, absl::OkStatus());
    if (call().inbox_.bytes() > kMostUnreadBytes) {
      return call().End(std::move(lock),
                        detail::ResourceExhaustedError(detail::Cat(
                            "more than ", kMostUnreadBytes, " bytes were not read, on a stream that others wait for")),
                        CallInfo::Reason::kPermanent);
    }
    call().Unlock(std::move(lock));
  }
  void OnBroken(const absl::Status& status) override { Fail(std::unique_lock(call().mutex_), status); }
  void SetBacklogged(bool full) { mux_stream()->SetBacklogged(*this, full); }
  void SetWaiting(bool hungry) { mux_stream()->SetWaiting(*this, hungry); }

 private:
  StreamCall& call() const { return static_cast<StreamCall&>(*call_); }
  void Fail(std::unique_lock<std::mutex> lock, const absl::Status& status) {
    if (!call().AsksUser()) return call().OnAttemptEnd(std::move(lock), *this, status);
    lock.unlock();
    call().OnAttemptEndApart(*this, status, shared_from_this());
  }
};

inline Attempt* StreamCall::NewAttempt(int number, TimePoint now, TimePoint due) {
  if (spec_.mux) return new MuxedRead(*this, number, now, due);
  return new RpcCall(*this, number, now, due);
}

inline void StreamCall::PumpReads() {
  const bool room = inbox_.has_room();
  if (spec_.mux) {
    if (std::exchange(room_, room) != room) ForMuxed([&](MuxedRead& ride) { ride.SetBacklogged(!room); });
    return;
  }
  for (Attempt* running : this->running()) {
    auto& attempt = static_cast<RpcCall&>(*running);
    if (!attempt.reading() && (room || attempt.read_to_the_end)) attempt.StartRead();
  }
}

template <class Fn>
void StreamCall::ForMuxed(Fn fn) {
  if (spec_.mux && !running().empty()) fn(static_cast<MuxedRead&>(*running().front()));
}

inline void StreamCall::PumpWrites() {
  if (terms_.form != Form::kOpen || running().empty()) return;
  auto& attempt = static_cast<RpcCall&>(*running().front());  // the only one
  if (attempt.writing() || attempt.read_to_the_end) return;
  switch (outbox_.Next()) {
    case Outbox<wire::Payload>::Act::kNothing:
      return;
    case Outbox<wire::Payload>::Act::kWrite:
      committed_ = true;
      attempt.StartWrite(outbox_.Pop());
      return WakeWriter();
    case Outbox<wire::Payload>::Act::kHalfClose:
      committed_ = true;
      attempt.StartHalfClose();
  }
}

inline void StreamCall::StartWaiting() {
  waiting_ = true;
  ForMuxed([](MuxedRead& ride) { ride.SetWaiting(true); });
  StartLimit(IdleLimits::kMessage);
}
inline void StreamCall::StopWaiting() {
  if (!std::exchange(waiting_, false)) return;
  ForMuxed([](MuxedRead& ride) { ride.SetWaiting(false); });
  idle_.Stop(IdleLimits::kMessage);
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_STREAM_ATTEMPTS_H_
