// SPDX-License-Identifier: Apache-2.0
//
// One exchange with one server, as the engine sees it, and as a gRPC call of its own.
#ifndef INFERWIRE_ENGINE_ATTEMPT_H_
#define INFERWIRE_ENGINE_ATTEMPT_H_

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <grpc/compression.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/channel/channel.h"
#include "inferwire/channel/pool.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/loop.h"
#include "inferwire/error_details.h"
#include "inferwire/status.h"
#include "inferwire/wire/error_details.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// One exchange with one server. It belongs to whatever it waits for, and outlives the call's interest in it; the call
/// only refers to it, and forgets it when it gives it up. Its functions run under the call's lock.
class Attempt {
 public:
  /// `call` is what it is an attempt of, and is kept alive.
  Attempt(TimerOwner& call, int number, TimePoint now, TimePoint due)
      : call_(&call), number_(number), started_(now), due_(due) {}
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;
  virtual ~Attempt() = default;

  /// Starts its operations.
  virtual void Start() = 0;
  /// Given up: to be cancelled, its end is of no interest.
  virtual void Abandon() = 0;
  /// Takes a header to be sent, before Start; what has no headers of its own ignores it.
  virtual void AddMetadata(const std::string& /*key*/, const std::string& /*value*/) {}

  /// As given in ClientOptions::targets.
  virtual const std::string& target() const = 0;
  /// The address, as gRPC spells it.
  virtual std::string peer() const = 0;
  /// The target is judged by how the attempt ended; the first verdict counts.
  virtual void Judge(channel::Verdict verdict, std::optional<absl::Duration> latency, TimePoint now) = 0;

  // Once it has ended by itself:

  /// What the server sent beside messages.
  virtual void TellMetadata(CallInfo& /*info*/) const {}
  virtual std::vector<ErrorDetail> details() const { return {}; }
  virtual std::optional<absl::Duration> pushback(const std::vector<ErrorDetail>& /*details*/) const {
    return std::nullopt;
  }
  /// Whether it provably never reached a server.
  virtual bool NeverReached(absl::StatusCode /*code*/) const { return false; }
  /// Whether the server was told when the attempt is due: it may then be the one to end it, a moment before us.
  virtual bool ToldWhenDue() const { return false; }
  /// Whether such an end is the server's fault, or that of the way to it, and not the request's.
  virtual bool ServerFailed(absl::StatusCode code) const {
    return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kUnknown ||
           code == absl::StatusCode::kInternal;
  }

  int number() const { return number_; }
  TimePoint started() const { return started_; }
  TimePoint due() const { return due_; }
  bool hedge() const { return hedge_; }
  void set_hedge(bool hedge) { hedge_ = hedge; }

 protected:
  const detail::Ref<TimerOwner> call_;

 private:
  const int number_;
  const TimePoint started_;
  const TimePoint due_;
  bool hedge_ = false;
};

/// An attempt that is a gRPC call. It belongs to its operations in the completion queue and destroys itself after the
/// last of them.
class RpcAttempt : public Attempt {
 public:
  RpcAttempt(TimerOwner& call, const ClientOptions& client, const CallOptions& options, channel::Lease lease,
             int number, TimePoint now, TimePoint due)
      : Attempt(call, number, now, due),
        lease_(std::move(lease)),
        inherited_(options.parent != nullptr ? grpc::ClientContext::FromServerContext(*options.parent) : nullptr),
        context_(inherited_ != nullptr ? *inherited_ : own_.emplace()) {
    if (due != TimePoint::max()) context_.set_deadline(ToTimespec(now, due));
    switch (options.compression.value_or(client.compression)) {
      case Compression::kNone:
        break;
      case Compression::kDeflate:
        context_.set_compression_algorithm(GRPC_COMPRESS_DEFLATE);
        break;
      case Compression::kGzip:
        context_.set_compression_algorithm(GRPC_COMPRESS_GZIP);
        break;
    }
    // gRFC A6: how many came before this one.
    if (number > 0) context_.AddMetadata("grpc-previous-rpc-attempts", std::to_string(number));
  }

  void Abandon() override { context_.TryCancel(); }
  void AddMetadata(const std::string& key, const std::string& value) override { context_.AddMetadata(key, value); }
  const std::string& target() const override { return lease_.target(); }
  std::string peer() const override { return context_.peer(); }
  void Judge(channel::Verdict verdict, std::optional<absl::Duration> latency, TimePoint now) override {
    lease_.Return(verdict, latency, now);
  }
  void TellMetadata(CallInfo& info) const override {
    info.initial_metadata = wire::FromGrpc(context_.GetServerInitialMetadata());
    info.trailing_metadata = wire::FromGrpc(context_.GetServerTrailingMetadata());
  }
  std::vector<ErrorDetail> details() const override { return wire::ReadErrorDetails(status_.error_details()); }
  std::optional<absl::Duration> pushback(const std::vector<ErrorDetail>& details) const override {
    return wire::Pushback(context_.GetServerTrailingMetadata(), details);
  }
  bool NeverReached(absl::StatusCode code) const override {
    return lease_.channel().NeverReached(code, context_.peer());
  }
  bool ToldWhenDue() const override { return due() != TimePoint::max(); }

 protected:
  /// How it ended, once it has.
  absl::Status ended() const { return lease_.channel().Explain(wire::FromGrpc(status_)); }

  channel::Lease lease_;

 private:
  const std::unique_ptr<grpc::ClientContext> inherited_;  // with a parent; a context can be made in place only without
  std::optional<grpc::ClientContext> own_;

 protected:
  grpc::ClientContext& context_;
  grpc::Status status_;
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_ATTEMPT_H_
