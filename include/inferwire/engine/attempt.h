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

#include <atomic>
#include <cstdint>
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
#include "inferwire/engine/probe.h"
#include "inferwire/error_details.h"
#include "inferwire/status.h"
#include "inferwire/wire/error_details.h"
#include "inferwire/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// Whether anything comes by the connection of an attempt that waits.
enum class Pulse {
  kHeard,    ///< it does, or that cannot be told
  kWaiting,  ///< the server was asked, and has not answered yet
  kNone,     ///< it does not, while a new connection to the same target is answered
};

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

  // While it waits. `since` is what heard() was when it began to.

  /// How often something has come by its connection, for others too.
  virtual std::uint64_t heard() const { return 0; }
  /// Asks the server, and if it says nothing for `patience` a new connection to it, which then takes the place of the
  /// attempt's for those who come now. `loop` is one that is always turned.
  virtual Pulse TakePulse(std::uint64_t /*since*/, absl::Duration /*patience*/, TimePoint /*now*/, Loop& /*loop*/) {
    return Pulse::kHeard;
  }
  /// It has run out of time. What there is to suspect where nothing has come by its connection since `began`, which is
  /// replaced then for those who come now; else empty.
  virtual std::string Doubt(std::uint64_t /*since*/, TimePoint /*began*/, TimePoint /*now*/) { return {}; }

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

  /// Whether another call's request may have brought that end about, beside which it travelled.
  virtual bool PerhapsAnothers() const { return false; }
  /// And whether the server goes on working all the same.
  virtual bool ServerWorks() const { return false; }

  int number() const { return number_; }
  TimePoint started() const { return started_; }
  TimePoint due() const { return due_; }
  bool hedge() const { return hedge_; }
  void set_hedge(bool hedge) { hedge_ = hedge; }
  std::uint64_t heard_before() const { return heard_before_; }
  void Listen() { heard_before_ = heard(); }
  /// Whether another one was started since it may never end.
  bool given_up() const { return given_up_; }
  void set_given_up() { given_up_ = true; }

 protected:
  const detail::Ref<TimerOwner> call_;

 private:
  const int number_;
  const TimePoint started_;
  const TimePoint due_;
  bool hedge_ = false;
  bool given_up_ = false;
  std::uint64_t heard_before_ = 0;
};

/// An attempt that is a gRPC call. It belongs to its operations in the completion queue and destroys itself after the
/// last of them.
class RpcAttempt : public Attempt {
 public:
  RpcAttempt(TimerOwner& call, const ClientOptions& client, const CallOptions& options, channel::Lease lease,
             int number, TimePoint now, TimePoint due, bool idempotent = true, bool lends = false)
      : Attempt(call, number, now, due),
        lease_(std::move(lease)),
        idempotent_(idempotent),
        lends_(lends),
        compressed_(options.compression.value_or(client.compression) != Compression::kNone),
        direct_(lease_.channel().proxied() && ToBeReadByNobody(client, options)),
        connection_(lease_.channel().connection(idempotent, lends, compressed_, direct_)),
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

  void Abandon() override {
    abandoned_ = true;
    context_.TryCancel();
  }
  void AddMetadata(const std::string& key, const std::string& value) override { context_.AddMetadata(key, value); }
  const std::string& target() const override { return lease_.target(); }
  std::string peer() const override { return context_.peer(); }
  void Judge(channel::Verdict verdict, std::optional<absl::Duration> latency, TimePoint now) override {
    if (verdict == channel::Verdict::kUnreached) {
      lease_.place()->endpoint->SetConnectError(std::string(ended().message()));
    }
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

  std::uint64_t heard() const override { return connection_->heard(); }
  Pulse TakePulse(std::uint64_t since, absl::Duration patience, TimePoint now, Loop& loop) override {
    if (!Silent(since)) return Pulse::kHeard;
    Probe::Ask(connection_, loop, now);
    if (connection_->unanswered(now) < patience) return Pulse::kWaiting;
    const std::shared_ptr<channel::Channel> beside = lease_.PutBeside(now);
    if (beside == nullptr) return Pulse::kWaiting;
    const std::shared_ptr<channel::Connection>& fresh = beside->connection(idempotent_, lends_, compressed_, direct_);
    if (!heard_beside_.has_value()) heard_beside_ = fresh->heard();
    if (fresh->heard() != *heard_beside_) return Pulse::kNone;
    Probe::Ask(fresh, loop, now);
    return Pulse::kWaiting;
  }
  std::string Doubt(std::uint64_t since, TimePoint began, TimePoint now) override {
    // Less than that is soon spent on the way.
    if (!Silent(since) || Between(began, now) < absl::Milliseconds(250)) return {};
    const absl::Duration age = Between(lease_.channel().made(), now);
    const bool replaced = lease_.PutBeside(now) != nullptr;
    return detail::Cat("nothing was received from ", target(), " meanwhile, on a connection of ",
                       absl::FormatDuration(absl::Trunc(age, absl::Milliseconds(1))),
                       replaced ? ", which may be dead and was replaced" : "");
  }

 protected:
  channel::Connection::Stub& stub() { return connection_->stub(); }
  /// Something has come.
  void Hear() { connection_->Hear(); }
  /// It has ended. What comes after it was given up need not have come from the server.
  void HearEnd() {
    if (status_.ok() || (!abandoned_ && wire::FromServer(status_))) Hear();
  }
  /// How it ended, once it has.
  absl::Status ended() const { return lease_.channel().Explain(wire::FromGrpc(status_)); }

  channel::Lease lease_;

 private:
  bool Silent(std::uint64_t since) const { return connection_->heard() == since && connection_->connected(); }

  // Over plaintext a proxy reads what a call carries.
  static bool ToBeReadByNobody(const ClientOptions& client, const CallOptions& options) {
    return !client.credentials.secure() &&
           (options.token.has_value() || wire::Has(options.metadata, wire::kAuthorization));
  }

  const bool idempotent_, lends_, compressed_, direct_;
  const std::shared_ptr<channel::Connection> connection_;
  std::optional<std::uint64_t> heard_beside_;             // by the new connection, when it was asked
  std::atomic<bool> abandoned_{false};                    // asked without the call's lock
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
