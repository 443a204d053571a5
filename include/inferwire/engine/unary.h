// SPDX-License-Identifier: Apache-2.0
//
// The unary form: one request, one reply, decoded where the loop is turned.
#ifndef INFERWIRE_ENGINE_UNARY_H_
#define INFERWIRE_ENGINE_UNARY_H_

#include <absl/status/status.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <utility>

#include "inferwire/engine/call.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

class UnaryCall : public Call {
 protected:
  using Call::Call;

  /// Turns the reply into what the call gives, and keeps it until OnEnd. Without the lock; if the call was ended
  /// meanwhile, what it kept is dropped.
  virtual absl::Status Decode(wire::Reply&& reply) = 0;

 private:
  class UnaryAttempt final : public Attempt, public Tag {
   public:
    UnaryAttempt(UnaryCall& call, channel::Lease lease, int number, TimePoint now, TimePoint due)
        : Attempt(call, std::move(lease), number, now, due) {}

    void Start() override {
      const UnaryCall& call = static_cast<const UnaryCall&>(*call_);
      reader_ = call.StubOf(lease_.channel())
                    .PrepareUnaryCall(&context_, call.spec_.path, call.spec_.request, call.loop_.queue());
      reader_->StartCall();
      reader_->Finish(&reply_, &status_, static_cast<Tag*>(this));
    }

    void Proceed(bool) override {
      std::unique_ptr<UnaryAttempt> self(this);
      UnaryCall& call = static_cast<UnaryCall&>(*call_);
      absl::Status status = wire::FromGrpc(status_);
      {
        std::lock_guard lock(call.mutex_);
        if (!call.Running(*this)) return;
        // The first answer is taken; an error may come second to another attempt's answer.
        if (status.ok()) call.Commit(*this);
      }
      // Only one attempt gets here, so nobody else decodes; the lock is open, since large replies take time.
      if (status.ok()) status = call.Decode(std::move(reply_));
      call.OnAttemptEnd(std::unique_lock(call.mutex_), *this, std::move(status));
    }

   private:
    wire::Reply reply_;
    std::unique_ptr<grpc::ClientAsyncResponseReader<wire::Reply>> reader_;
  };

  Attempt* NewAttempt(channel::Lease lease, int number, TimePoint now, TimePoint due) override {
    return new UnaryAttempt(*this, std::move(lease), number, now, due);
  }
  void OnOtherTimer(std::unique_lock<std::mutex>, Timer&) override {}
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_UNARY_H_
