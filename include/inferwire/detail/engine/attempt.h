// SPDX-License-Identifier: Apache-2.0
//
// One exchange with one server, as the engine sees it, and as a gRPC call of its own.
#ifndef INFERWIRE_DETAIL_ENGINE_ATTEMPT_H_
#define INFERWIRE_DETAIL_ENGINE_ATTEMPT_H_

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <grpc/compression.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/probe.h"
#include "inferwire/detail/engine/silence.h"
#include "inferwire/detail/wire/error_details.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/error_details.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// A look at the connection of an attempt that waits.
struct Look {
  std::uint64_t heard_before;  // what heard() was when it began to
  TimePoint since;             // when that was
  absl::Duration patience;     // how long the server may take to give a sign of life
  TimePoint now;
  Loop& loop;             // that is always turned, for questions
  bool moves_on = false;  // the next attempt is to go by another connection
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
  virtual void ReportOutcome(channel::Outcome verdict, std::optional<absl::Duration> latency, TimePoint now) = 0;

  // While it waits.

  /// Differs once something has come by its connection, for others too.
  virtual std::uint64_t heard() const { return 0; }
  /// Asks the server where nothing has come, and if it says nothing for a while, by a new connection too. Where that
  /// one is answered it takes the place of the attempt's for those who come now.
  virtual Pulse TakePulse(const Look&) { return Pulse::kHeard; }
  /// It has run out of time. The same; and what was seen, where nothing has come by its connection, else empty.
  virtual std::string Doubt(const Look&) { return {}; }

  // Once it has ended by itself:

  /// What the server sent beside messages.
  virtual void ReadMetadata(CallInfo& /*info*/) const {}
  /// A header or trailer of the server's.
  virtual std::optional<std::string> ReadHeader(const std::string& /*key*/) const { return std::nullopt; }
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
  void set_due(TimePoint due) { due_ = due; }
  bool hedge() const { return hedge_; }
  void set_hedge(bool hedge) { hedge_ = hedge; }
  std::uint64_t heard_before() const { return heard_before_; }
  TimePoint quiet_since() const { return quiet_since_; }
  void Listen(TimePoint now) {
    heard_before_ = heard();
    quiet_since_ = now;
  }
  /// Whether another one was started since it may never end.
  bool given_up() const { return given_up_; }
  void set_given_up() { given_up_ = true; }
  /// Whether its error came in a message: the exchange itself goes on, and cannot be asked yet.
  bool told_in_band() const { return told_in_band_; }
  void set_told_in_band() { told_in_band_ = true; }

 protected:
  const detail::Ref<TimerOwner> call_;

 private:
  const int number_;
  const TimePoint started_;
  TimePoint due_;
  bool hedge_ = false;
  bool given_up_ = false;
  bool told_in_band_ = false;
  std::uint64_t heard_before_ = 0;
  TimePoint quiet_since_;
};

/// An attempt that is a gRPC call. It belongs to its operations in the completion queue and destroys itself after the
/// last of them.
class RpcAttempt : public Attempt {
 public:
  /// `told`: the deadline that the server is told.
  RpcAttempt(TimerOwner& call, const ClientOptions& client, const CallOptions& options, Compression compression,
             channel::Lease lease, int number, TimePoint now, TimePoint due, TimePoint told, bool idempotent,
             bool lends)
      : Attempt(call, number, now, due),
        lease_(std::move(lease)),
        told_(told),
        idempotent_(idempotent),
        lends_(lends),
        compressed_(compression != Compression::kNone),
        direct_(lease_.channel().proxied() && ToBeReadByNobody(client, options)),
        connection_(lease_.channel().connection(idempotent, lends, compressed_, direct_)),
        inherited_(options.parent != nullptr ? grpc::ClientContext::FromServerContext(*options.parent) : nullptr),
        context_(inherited_ != nullptr ? *inherited_ : own_.emplace()) {
    if (told != TimePoint::max()) context_.set_deadline(ToTimespec(now, told));
    switch (compression) {
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
  void ReportOutcome(channel::Outcome verdict, std::optional<absl::Duration> latency, TimePoint now) override {
    if (verdict == channel::Outcome::kUnreached) {
      lease_.place()->endpoint->SetConnectError(std::string(ended().message()));
    }
    lease_.Release(verdict, latency, now);
  }
  void ReadMetadata(CallInfo& info) const override {
    info.initial_metadata = wire::FromGrpc(context_.GetServerInitialMetadata());
    info.trailing_metadata = wire::FromGrpc(context_.GetServerTrailingMetadata());
  }
  std::optional<std::string> ReadHeader(const std::string& key) const override {
    for (const auto* const place : {&context_.GetServerInitialMetadata(), &context_.GetServerTrailingMetadata()}) {
      const auto found = place->find(grpc::string_ref(key));
      if (found != place->end()) return std::string(found->second.data(), found->second.size());
    }
    return std::nullopt;
  }
  std::vector<ErrorDetail> details() const override { return wire::ReadErrorDetails(status_.error_details()); }
  std::optional<absl::Duration> pushback(const std::vector<ErrorDetail>& details) const override {
    return wire::Pushback(context_.GetServerTrailingMetadata(), details);
  }
  bool NeverReached(absl::StatusCode code) const override {
    return lease_.channel().NeverReached(code, context_.peer());
  }
  bool ToldWhenDue() const override { return told_ != TimePoint::max() && told_ == due(); }

  std::uint64_t heard() const override { return connection_->heard(); }
  Pulse TakePulse(const Look& look) override {
    switch (Step(look)) {
      case SilenceStep::kTrust:
        return Pulse::kHeard;
      case SilenceStep::kReplace:
        return Pulse::kNone;
      default:
        return Pulse::kWaiting;
    }
  }
  std::string Doubt(const Look& look) override {
    // One that was found alive meanwhile is above suspicion until it is asked again.
    const bool asked = look.since == started() || connection_->unanswered() > absl::ZeroDuration();
    const SilenceStep step = Step(look);
    const absl::Duration quiet = Between(look.since, look.now);
    if (step == SilenceStep::kTrust || !asked || quiet < absl::Milliseconds(250)) return {};  // soon spent on the way
    if (look.moves_on) lease_.endpoint().Beside(lease_.channel(), look.now);
    constexpr auto kText = [](absl::Duration duration) {
      return absl::FormatDuration(absl::Trunc(duration, absl::Milliseconds(1)));
    };
    return detail::Cat(
        "nothing was received from ", target(), " for ", kText(quiet), ", on a connection of ",
        kText(Between(lease_.channel().made(), look.now)),
        step == SilenceStep::kReplace ? ", which may be dead and was replaced: a new one is answered" : "");
  }

 protected:
  channel::Connection::Stub& stub() { return connection_->stub(); }
  void HearMessage(std::size_t bytes) { connection_->HearMessage(bytes); }
  /// It has ended. What comes after it was given up need not have come from the server.
  void HearEnd() {
    if (status_.ok() || (!abandoned_ && wire::FromServer(status_))) connection_->HearEnd();
  }
  /// How it ended, once it has.
  absl::Status ended() const { return lease_.channel().Explain(wire::FromGrpc(status_)); }

  channel::Lease lease_;

 private:
  // Does what comes next about the connection.
  SilenceStep Step(const Look& look) {
    channel::Endpoint& endpoint = lease_.endpoint();
    channel::Channel& channel = lease_.channel();
    const auto beside = [&]() -> std::shared_ptr<channel::Connection> {
      const std::shared_ptr<channel::Channel> other = endpoint.Beside(channel, look.now);
      return other != nullptr ? other->connection(idempotent_, lends_, compressed_, direct_) : nullptr;
    };
    Silence silence;
    silence.heard = connection_->heard() != look.heard_before || !connection_->connected();
    if (!silence.heard) silence.unanswered = connection_->unanswered();
    std::shared_ptr<channel::Connection> other;
    if (NextStep(silence, look.patience) == SilenceStep::kAskBeside) {
      other = beside();
      silence.heard_beside = other != nullptr && other->heard() > 0;
    }
    const SilenceStep step = NextStep(silence, look.patience);
    switch (step) {
      case SilenceStep::kTrust:
        endpoint.Trust(channel);
        break;
      case SilenceStep::kAsk:
        Probe::Ask(connection_, look.loop);
        break;
      case SilenceStep::kAskBeside:
        if (other != nullptr) Probe::Ask(other, look.loop);
        break;
      case SilenceStep::kReplace:
        endpoint.GiveWay(channel);
        break;
    }
    return step;
  }

  // Over plaintext a proxy reads what a call carries.
  static bool ToBeReadByNobody(const ClientOptions& client, const CallOptions& options) {
    return !client.credentials.secure() &&
           (options.token.has_value() || wire::Has(options.metadata, wire::kAuthorization));
  }

  const TimePoint told_;
  const bool idempotent_, lends_, compressed_, direct_;
  const std::shared_ptr<channel::Connection> connection_;
  std::atomic<bool> abandoned_{false};                    // asked without the call's lock
  const std::unique_ptr<grpc::ClientContext> inherited_;  // with a parent; a context can be made in place only without
  std::optional<grpc::ClientContext> own_;

 protected:
  grpc::ClientContext& context_;
  grpc::Status status_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_ATTEMPT_H_
