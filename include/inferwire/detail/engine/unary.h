// SPDX-License-Identifier: Apache-2.0
//
// The unary form: one request, one reply, decoded where the loop is turned, or elsewhere if that takes long.
#ifndef INFERWIRE_DETAIL_ENGINE_UNARY_H_
#define INFERWIRE_DETAIL_ENGINE_UNARY_H_

#include <absl/status/status.h>
#include <grpcpp/support/async_unary_call.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/stream_mux.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

class UnaryCall : public Call {
 public:
  /// Whether a reply has come and is being understood.
  bool HasAnswer() {
    std::lock_guard lock(mutex_);
    return answered();
  }

 protected:
  using Call::Call;

  /// Turns the reply into what the call gives, and keeps it until OnEnd. Without the lock; if the call was ended
  /// meanwhile, what it kept is dropped.
  virtual absl::Status Decode(wire::Reply&& reply) = 0;

  /// Whether other calls would wait too long if the reply were decoded where the loop is turned.
  virtual bool DecodesApart(const wire::Reply& /*reply*/) const { return false; }
  /// Whether other calls would wait if the user's functions were asked there.
  virtual bool AsksApart() const { return false; }

 private:
  class RpcCall final : public RpcAttempt, public Tag {
   public:
    RpcCall(UnaryCall& call, int number, TimePoint now, TimePoint due)
        : RpcAttempt(call, call.engine_->options(), call.spec_.options, call.effective_.compression,
                     call.PickTarget(now), number, now, due,
                     /*told=*/due, call.idempotent_, call.lends()) {}

    void Start() override {
      UnaryCall& call = static_cast<UnaryCall&>(*call_);
      reader_ = stub().PrepareUnaryCall(&context_, call.spec_.path, call.spec_.request, call.loop_.queue());
      reader_->StartCall();
      call.loop_.Began();
      reader_->Finish(&reply_, &status_, static_cast<Tag*>(this));
    }
    void Proceed(bool) override {
      UnaryCall& call = static_cast<UnaryCall&>(*call_);
      call.loop_.Ended();
      if (reply_.size() > 0) HearMessage(reply_.size());
      HearEnd();
      call.OnReply(*this, ended(), std::move(reply_), std::unique_ptr<RpcCall>(this));
    }
    static RpcCall* New(UnaryCall& call, int number, TimePoint now, TimePoint due) {
      void* const memory = number == 0 ? call.first_ : ::operator new(sizeof(RpcCall));
      return ::new (memory) RpcCall(call, number, now, due);
    }
    static void operator delete(RpcCall* self, std::destroying_delete_t) {
      const detail::Ref<TimerOwner> call = self->call_;  // where the memory may lie
      const bool first = self->number() == 0;
      self->~RpcCall();
      if (!first) ::operator delete(self);
    }

   private:
    wire::Reply reply_;
    std::unique_ptr<grpc::ClientAsyncResponseReader<wire::Reply>> reader_;
  };

  // The answer counts once the server has said that there is no other.
  class MuxedUnary final : public MuxedAttempt {
   public:
    MuxedUnary(UnaryCall& call, int number, TimePoint now, TimePoint due)
        : MuxedAttempt(call, call.PickTarget(now), call.spec_.mux, call.spec_.id, call.spec_.request,
                       call.muxed_terms(), number, now, due) {
      is_waiting = true;
    }
    void OnMessage(wire::Reply&& message, const ReplyTag& label) override {
      if (!label.error.ok()) return End(label.error);
      if (!label.empty && answer_.received()) {
        Abandon();  // there may be any number of them
        return End(detail::FailedPreconditionError(
            "the model answers more than once, and Infer takes one answer: use StreamInfer"));
      }
      if (!label.empty) answer_ = std::move(message);
      if (!label.last) return;
      End(answer_.received() ? absl::OkStatus() : detail::InternalError("the model has answered nothing"));
    }
    void OnBroken(const absl::Status& status) override { End(status); }

   private:
    void End(absl::Status status) {
      static_cast<UnaryCall&>(*call_).OnReply(*this, std::move(status), std::move(answer_), shared_from_this());
    }
    wire::Reply answer_;
  };

  Attempt* NewAttempt(int number, TimePoint now, TimePoint due) override {
    if (spec_.mux) return new MuxedUnary(*this, number, now, due);
    return RpcCall::New(*this, number, now, due);
  }
  // What loses cannot be called back from a stream that others are on.
  bool MayHedge() const override { return !spec_.mux; }

  // `keep` holds the attempt until all is done.
  template <class Keep>
  void OnReply(Attempt& attempt, absl::Status status, wire::Reply&& reply, Keep keep) {
    {
      std::lock_guard lock(mutex_);
      if (!Running(attempt)) return;
      if (status.ok()) status = InspectReply(reply);
      // The first answer is taken; an error may come second to another attempt's answer.
      if (status.ok()) Answered(attempt);
    }
    // Only one attempt gets here, so nobody else decodes; the lock is open, since large replies take time.
    if (status.ok() && DecodesApart(reply)) {
      return engine_->decoders().Run(
          [self = detail::Ref<UnaryCall>(this), &attempt, reply = std::move(reply), keep = std::move(keep)]() mutable {
            detail::CurrentThread().serves_grpc = true;  // others wait for this thread
            absl::Status decoded = self->Decode(std::move(reply));
            self->OnAttemptEnd(std::unique_lock(self->mutex_), attempt, std::move(decoded));
          });
    }
    if (!status.ok() && AsksApart()) return OnAttemptEndApart(attempt, std::move(status), std::move(keep));
    if (status.ok()) status = Decode(std::move(reply));
    OnAttemptEnd(std::unique_lock(mutex_), attempt, std::move(status));
  }
  void OnOtherTimer(std::unique_lock<std::mutex>, Timer&) override {}

  // The first attempt, which most calls end with, lies in the call that it keeps: one allocation less.
  alignas(RpcCall) std::byte first_[sizeof(RpcCall)];
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_UNARY_H_
