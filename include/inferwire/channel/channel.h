// SPDX-License-Identifier: Apache-2.0
//
// A connection to one target, and which of several a new attempt takes.
#ifndef INFERWIRE_CHANNEL_CHANNEL_H_
#define INFERWIRE_CHANNEL_CHANNEL_H_

#include <absl/status/status.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/detail/text.h"
#include "inferwire/version.h"
#include "inferwire/wire/message.h"

namespace inferwire {
inline namespace v0 {
namespace channel {

/// One target, with the generic stubs every call goes through. Safe from any number of threads.
class Channel {
 public:
  using Stub = grpc::TemplatedGenericStub<wire::Payload, wire::Reply>;

  /// Connects with the first call.
  Channel(std::string target, std::shared_ptr<grpc::ChannelCredentials> credentials, grpc::ChannelArguments arguments)
      : target_(std::move(target)),
        spelling_(Unmistakable(target_)),
        credentials_(std::move(credentials)),
        arguments_(std::move(arguments)),
        channel_(Connect(/*core_retries=*/false)),
        stub_(channel_) {}

  const std::string& target() const { return target_; }
  /// For calls that may run twice: without gRPC's own retry layer, which costs a tenth of a small call, and hides from
  /// the server that an attempt is not the first.
  Stub& stub() { return stub_; }
  /// For calls that may not: with it, since it knows which requests a server has refused unseen (gRFC A6, "transparent
  /// retries"), and tells nobody. On a connection of its own, made with the first such call.
  Stub& careful_stub() {
    std::call_once(careful_once_, [this] { careful_.emplace(Connect(/*core_retries=*/true)); });
    return *careful_;
  }

  void Begin() { in_flight_.fetch_add(1, std::memory_order_relaxed); }
  void End() { in_flight_.fetch_sub(1, std::memory_order_relaxed); }
  int in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

  /// Begins to connect, if it has not.
  void StartConnecting() { channel_->GetState(/*try_to_connect=*/true); }
  /// Connects, and waits for it; false if that takes too long.
  bool WaitForConnected(std::chrono::system_clock::time_point deadline) { return channel_->WaitForConnected(deadline); }

  /// Whether an attempt that ended with `code` and whose context tells of `peer` provably never reached a server: gRPC
  /// gives an attempt that was never bound to a connection the target's text for a peer. For UNAVAILABLE alone, since
  /// newer versions bind the peer only once the server has answered or the connection has broken.
  bool NeverReached(absl::StatusCode code, std::string_view peer) const {
    if (code != absl::StatusCode::kUnavailable) return false;
    constexpr std::string_view kDefaultScheme = "dns:///";  // put in front by newer versions
    return peer == spelling_ || (peer.starts_with(kDefaultScheme) && peer.substr(kDefaultScheme.size()) == spelling_);
  }

 private:
  // "ipv4:1.2.3.4:5" is what a bound peer looks like too. The same target has another spelling as an URI with a path.
  static std::string Unmistakable(const std::string& target) {
    for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
      if (target.starts_with(scheme) && target.compare(scheme.size(), 1, "/") != 0) {
        return detail::Cat(scheme, "/", std::string_view(target).substr(scheme.size()));
      }
    }
    if (target.starts_with("unix:/") && !target.starts_with("unix://")) return detail::Cat("unix://", target.substr(5));
    return target;
  }

  std::shared_ptr<grpc::Channel> Connect(bool core_retries) const {
    grpc::ChannelArguments arguments = arguments_;
    arguments.SetInt("grpc.enable_retries", core_retries ? 1 : 0);
    return grpc::CreateCustomChannel(spelling_, credentials_, arguments);
  }

  const std::string target_;
  const std::string spelling_;  // for gRPC
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const grpc::ChannelArguments arguments_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<int> in_flight_{0};
  Stub stub_;
  std::once_flag careful_once_;
  std::optional<Stub> careful_;
};

/// What all channels of a client are made with. `max_receive_bytes` bounds one reply.
inline grpc::ChannelArguments Arguments(int max_receive_bytes, int max_reconnect_backoff_ms) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_receive_bytes);
  arguments.SetMaxSendMessageSize(-1);  // the server's limit decides
  arguments.SetUserAgentPrefix("inferwire/" INFERWIRE_VERSION);
  // gRPC waits up to two minutes between connection attempts; a restarted server is to be used within a second.
  // The keys are spelled out, since gRPC moved the macros that name them from one header to another.
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 100);
  arguments.SetInt("grpc.min_reconnect_backoff_ms", 1000);  // how long one attempt to connect may take at least
  arguments.SetInt("grpc.max_reconnect_backoff_ms", max_reconnect_backoff_ms);
  // Nobody asks for this client's channelz pages, and keeping them costs a twentieth of a small call.
  arguments.SetInt("grpc.enable_channelz", 0);
  // Error details travel in trailers, and 8 KiB, gRPC's default, is little for them.
  arguments.SetInt("grpc.max_metadata_size", 64 * 1024);
  return arguments;
}

}  // namespace channel
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CHANNEL_CHANNEL_H_
