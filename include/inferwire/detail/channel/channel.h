// SPDX-License-Identifier: Apache-2.0
//
// A connection to one target, and which of several a new attempt takes.
#ifndef INFERWIRE_DETAIL_CHANNEL_CHANNEL_H_
#define INFERWIRE_DETAIL_CHANNEL_CHANNEL_H_

#include <absl/status/status.h>
#include <absl/strings/escaping.h>
#include <absl/time/time.h>
#include <grpc/compression.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/advice.h"
#include "inferwire/detail/channel/connectivity.h"
#include "inferwire/detail/channel/keeper.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/options/connection_options.h"
#include "inferwire/version.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace channel {

/// gRPC is asked itself: a channel with a config that it cannot parse is born dead, and connects to nothing.
inline bool UnderstandsServiceConfig(const std::string& json) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(json);
  return grpc::CreateCustomChannel("ipv4:127.0.0.1:1", grpc::InsecureChannelCredentials(), arguments)
             ->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_IDLE;
}

/// What a service config may ask for and the client does by itself. As keys of its JSON: a string that holds such words
/// has its quotes escaped.
inline absl::Status ValidateServiceConfig(const std::string& json) {
  constexpr std::pair<std::string_view, std::string_view> kOurs[] = {
      {"retryPolicy", "ClientOptions::retry"},
      {"hedgingPolicy", "ClientOptions::hedge"},
      {"retryThrottling", "ClientOptions::retry_budget"}};
  for (const auto& [key, option] : kOurs) {
    if (json.find(detail::Cat("\"", key, "\"")) != std::string::npos) {
      return detail::InvalidArgumentError(detail::Cat(
          "connection.service_config has a ", key, ", which has no effect here; expected ", option, " in its place"));
    }
  }
  return absl::OkStatus();
}

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const ConnectionOptions& options) {
  const struct {
    const char* name;
    absl::Duration value, least;
  } durations[] = {{"keepalive_time", options.keepalive_time, absl::Seconds(10)},
                   {"keepalive_timeout", options.keepalive_timeout, absl::Milliseconds(1)},
                   {"lent_memory_timeout", options.lent_memory_timeout, absl::Milliseconds(100)},
                   {"connect_timeout", options.connect_timeout, absl::Milliseconds(100)},
                   {"max_age", options.max_age, absl::Milliseconds(100)},
                   {"max_reconnect_backoff", options.max_reconnect_backoff, absl::Milliseconds(100)}};
  for (const auto& [name, value, least] : durations) {
    if (value < least) {
      return detail::InvalidArgumentError(detail::Cat("connection.", name, " is ", absl::FormatDuration(value),
                                                      "; expected at least ", absl::FormatDuration(least)));
    }
  }
  for (const char c : options.user_agent) {
    if (c < 0x20 || c > 0x7e) {
      return detail::InvalidArgumentError("connection.user_agent holds a character outside printable ASCII");
    }
  }
  for (const char c : options.authority) {
    if (c <= 0x20 || c > 0x7e || c == '/' || c == '@') {
      return detail::InvalidArgumentError(detail::Cat("connection.authority is '",
                                                      absl::CHexEscape(detail::ToAbsl(options.authority)),
                                                      "'; expected a host, or host:port"));
    }
  }
  if (!options.service_config.empty() && !UnderstandsServiceConfig(options.service_config)) {
    return detail::InvalidArgumentError(
        "connection.service_config is not understood by gRPC; expected JSON such as "
        R"({"loadBalancingConfig": [{"round_robin": {}}]})");
  }
  if (absl::Status status = ValidateServiceConfig(options.service_config); !status.ok()) return status;
  if (options.max_send_message_bytes < 1 ||
      options.max_send_message_bytes > (std::numeric_limits<std::int32_t>::max)()) {
    return detail::InvalidArgumentError(detail::Cat("connection.max_send_message_bytes is ",
                                                    options.max_send_message_bytes, "; expected 1 to 2147483647"));
  }
  if (options.receive_window_bytes != 0 &&
      (options.receive_window_bytes < 64 << 10 || options.receive_window_bytes > 1 << 30)) {
    return detail::InvalidArgumentError(detail::Cat("connection.receive_window_bytes is ", options.receive_window_bytes,
                                                    "; expected 0, or 65536 to 1073741824"));
  }
  return absl::OkStatus();
}

/// As gRPC takes them: no more than fit, however long.
inline int Milliseconds(absl::Duration duration) {
  constexpr std::int64_t kMost = (std::numeric_limits<std::int32_t>::max)();
  return static_cast<int>((std::min)(absl::ToInt64Milliseconds(duration), kMost));
}

/// One connection, and whether anything comes by it. One that a balancer or a NAT has forgotten without a word looks
/// like one to a slow server, until both it and a new one are asked something. Outlives its channel where a question is
/// out.
class Connection {
 public:
  using Stub = grpc::TemplatedGenericStub<wire::Payload, wire::Reply>;

  Connection(std::shared_ptr<grpc::Channel> channel, std::shared_ptr<detail::Flow> flow)
      : channel_(std::move(channel)), stub_(channel_), flow_(std::move(flow)) {}

  Stub& stub() { return stub_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  bool connected() { return channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY; }

  // What has come from the server.
  void HearMessage(std::size_t bytes) { flow_->HearMessage(bytes); }
  void HearEnd() { flow_->HearEnd(); }
  /// Differs once something has.
  std::uint64_t heard() const { return flow_->heard(); }

  // Questions, by the machine's clock, since servers answer by that.

  /// A question is sent, with the context that is given; none is where one is out already.
  std::shared_ptr<grpc::ClientContext> BeginAsking() {
    std::lock_guard lock(mutex_);
    if (closed_ || question_ != nullptr) return nullptr;
    BeginToListen();
    return question_ = std::make_shared<grpc::ClientContext>();
  }
  /// It has come back, with an answer or without.
  void EndAsking(bool answered) {
    std::lock_guard lock(mutex_);
    question_ = nullptr;
    if (answered) HearEnd();
  }
  /// How long a question has been out with nothing coming back, also to others.
  absl::Duration unanswered() {
    std::lock_guard lock(mutex_);
    if (question_ == nullptr) return absl::ZeroDuration();
    if (heard() != heard_before_) BeginToListen();
    return Between(listens_since_, std::chrono::steady_clock::now());
  }
  /// Its answer is of no interest any more: the connection is to be closed.
  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    if (question_ != nullptr) question_->TryCancel();
  }

 private:
  void BeginToListen() {
    listens_since_ = std::chrono::steady_clock::now();
    heard_before_ = heard();
  }

  const std::shared_ptr<grpc::Channel> channel_;
  Stub stub_;
  const std::shared_ptr<detail::Flow> flow_;
  std::mutex mutex_;
  std::shared_ptr<grpc::ClientContext> question_;
  TimePoint listens_since_;
  std::uint64_t heard_before_ = 0;
  bool closed_ = false;
};

/// One target, with the connections every call goes through. Safe from any number of threads.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  /// Connects with the first call. Not to be used for new calls after `expires`. `arguments` are what the rest is made
  /// to, `options` what they were made from. `compressed`: whether calls usually take compressed answers.
  Channel(std::string target, std::shared_ptr<grpc::ChannelCredentials> credentials, grpc::ChannelArguments arguments,
          const ConnectionOptions& options, TimePoint made = TimePoint(), TimePoint expires = TimePoint::max(),
          bool compressed = false)
      : target_(std::move(target)),
        options_(options),
        made_(made),
        expires_(expires),
        spelling_(Unmistakable(target_)),
        credentials_(std::move(credentials)),
        arguments_(std::move(arguments)),
        compressed_(compressed),
        proxied_(options_.use_proxy && ProxyInEnvironment()),
        usual_(Connect(/*idempotent=*/true, /*lends=*/false, compressed, /*direct=*/false)),
        dead_(state() != GRPC_CHANNEL_IDLE) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() {
    usual_->Close();
    for (const Spare& spare : spares_) {
      if (spare.connection != nullptr) spare.connection->Close();
    }
  }

  const std::string& target() const { return target_; }
  /// The connection for calls of a kind; each kind but the usual one has its own, made with its first call.
  ///
  /// Calls that may run twice do without gRPC's own retry layer, which costs a tenth of a small call, and hides from
  /// the server that an attempt is not the first. Non-idempotent calls need it: it alone knows which requests a server
  /// refused unseen (gRFC A6, "transparent retries"), and tells nobody.
  ///
  /// Calls that lend memory need a connection that is closed when its peer takes nothing more, within
  /// ConnectionOptions::lent_memory_timeout; other calls should not be cut off by this timeout.
  ///
  /// Calls that take compressed answers need one that has gRPC inflate them, which others are not to have.
  ///
  /// Calls that are `direct` keep away from proxies; only where proxied() are they to say so.
  const std::shared_ptr<Connection>& connection(bool idempotent, bool lends, bool compressed = false,
                                                bool direct = false) {
    if (idempotent && !lends && compressed == compressed_ && !direct) return usual_;
    Spare& spare =
        spares_[std::size_t{idempotent ? 0U : 1U} + (lends ? 2U : 0U) + (compressed ? 4U : 0U) + (direct ? 8U : 0U)];
    std::call_once(spare.once, [&] { spare.connection = Connect(idempotent, lends, compressed, direct); });
    return spare.connection;
  }
  /// Whether a proxy may stand between.
  bool proxied() const { return proxied_; }

  void Begin() {
    traffic_->begun.fetch_add(1, std::memory_order_relaxed);
    if (traffic_->in_flight.fetch_add(1) == 0) detail::Keeper::Instance().Wake();
  }
  /// Whether it carries nothing more.
  bool End() { return traffic_->in_flight.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  /// Whether calls need not wait for a connection first, as far as its last answer or failure tells.
  bool warm() const { return warm_.load(std::memory_order_relaxed); }
  void set_warm(bool warm) {
    if (this->warm() != warm) warm_.store(warm, std::memory_order_relaxed);
  }
  TimePoint made() const { return made_; }
  TimePoint expires() const { return expires_; }
  /// Of which renewal of the certificates it is. The endpoint's, before others know it.
  int renewal = 0;
  /// What was made beside it since it is doubted, and may have taken its place. The endpoint's, under its lock.
  std::shared_ptr<Channel> successor;
  int in_flight() const { return traffic_->in_flight.load(std::memory_order_acquire); }

  grpc_connectivity_state state() const { return usual_->channel()->GetState(/*try_to_connect=*/false); }
  /// Begins to connect, if it has not.
  void StartConnecting() { usual_->channel()->GetState(/*try_to_connect=*/true); }
  /// Connects, and waits for it; false if that takes too long.
  bool WaitForConnected(std::chrono::system_clock::time_point deadline) {
    const detail::Waiting waiting(traffic_);
    return usual_->channel()->WaitForConnected(deadline);
  }

  /// What the error of a call says that gRPC's own words do not. Where gRPC could not make a channel at all, each call
  /// ends with a code of gRPC's choice: such a target is one that cannot be reached.
  absl::Status Explain(absl::Status status) const {
    if (status.ok()) return status;
    const std::string_view text = detail::ToStd(status.message());
    if (dead_) {
      return detail::MakeError(absl::StatusCode::kUnavailable,
                               detail::Cat("gRPC cannot make a channel to '", target_, "': ", text));
    }
    if (status.code() == absl::StatusCode::kUnimplemented && text.starts_with("Compression algorithm '")) {
      return detail::MakeError(status.code(),
                               detail::Cat(text,
                                           " The server compresses its answers, unasked; calls take that which have a "
                                           "`compression` of their own, or their client has"));
    }
    if (status.code() != absl::StatusCode::kUnavailable) return status;
    if (traffic_->floods.load(std::memory_order_relaxed) > 0) {
      return detail::MakeError(
          status.code(),
          detail::Cat(text, " (a connection to this server was closed, since it sent without end what means nothing)"));
    }
    const std::string advice = Advice(text, target_, options_.use_proxy);
    return advice.empty() ? status : detail::Reworded(status, detail::Cat(text, advice));
  }
  /// Why it does not connect; "" if it has, or that is not known within `patience`. Blocks.
  std::string WhyNotConnected(std::chrono::milliseconds patience) const {
    const detail::Waiting waiting(traffic_);
    const std::optional<grpc::Status> failed = detail::WhyNotConnected(usual_->channel(), patience);
    if (failed.has_value()) return std::string(Explain(wire::FromGrpc(*failed)).message());
    if (state() != GRPC_CHANNEL_CONNECTING) return {};
    return detail::Cat("nothing was heard of it so far, where connecting may take the connect_timeout of ",
                       absl::FormatDuration(options_.connect_timeout));
  }

  /// Whether an attempt that ended with `code` and whose context tells of `peer` provably never reached a server: gRPC
  /// gives an attempt that was never bound to a connection the target's text for a peer. For UNAVAILABLE alone, since
  /// newer versions bind the peer only once the server has answered or the connection has broken.
  bool NeverReached(absl::StatusCode code, std::string_view peer) const {
    if (code != absl::StatusCode::kUnavailable) return false;
    if (dead_) return true;
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

  std::shared_ptr<Connection> Connect(bool idempotent, bool lends, bool compressed, bool direct) const {
    grpc::ChannelArguments arguments = arguments_;
    if (!options_.use_proxy || direct) {
      arguments.SetInt("grpc.enable_http_proxy", 0);
      // Newer versions know proxies for addresses, too.
      arguments.SetString("grpc.address_http_proxy_enabled_addresses", "");
    }
    arguments.SetInt("grpc.enable_retries", idempotent ? 0 : 1);
    // The bits of GRPC_COMPRESS_NONE, _DEFLATE and _GZIP. Where a server does not heed them gRPC would inflate first,
    // and then refuse.
    arguments.SetInt("grpc.compression_enabled_algorithms_bitset", compressed ? 7 : 1);
    if (!compressed) arguments.SetInt("grpc.per_message_decompression", 0);
    // The engine keeps every deadline itself, also where gRPC would not; a second timer costs a twentieth of a small
    // call. Servers are told of deadlines all the same. But a service config, one that comes by xDS too, may have
    // timeouts of its own, which only gRPC knows.
    if (options_.service_config.empty() && !target_.starts_with("xds:")) {
      arguments.SetInt("grpc.enable_deadline_checking", 0);
    }
    // A connection that keeps alive has its socket give up (TCP_USER_TIMEOUT) when what was sent is not taken for as
    // long as a PING may go unanswered. What has no PINGs is told to send them after some weeks. The two times are one
    // to gRPC: where memory is lent for less long than a PING may take there are none, since they would end connections
    // that are only slow. Each key is given once, since gRPC heeds the first.
    const bool serves_both = !lends || options_.keepalive_timeout <= options_.lent_memory_timeout;
    constexpr int kWeeks = (std::numeric_limits<std::int32_t>::max)() - 1;
    arguments.SetInt("grpc.keepalive_time_ms",
                     serves_both ? (std::min)(Milliseconds(options_.keepalive_time), kWeeks) : kWeeks);
    auto flow = std::make_shared<detail::Flow>(traffic_, static_cast<std::uint64_t>(options_.receive_window_bytes));
    detail::Keeper::Instance().Watch(
        flow, Milliseconds(serves_both ? options_.keepalive_timeout : options_.lent_memory_timeout));
    arguments.SetInt("grpc.keepalive_timeout_ms", flow->mark());
    return std::make_shared<Connection>(grpc::CreateCustomChannel(spelling_, credentials_, arguments), std::move(flow));
  }

  const std::string target_;
  const ConnectionOptions options_;
  const TimePoint made_, expires_;
  const std::string spelling_;  // for gRPC
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const grpc::ChannelArguments arguments_;
  const bool compressed_;
  const std::shared_ptr<detail::Traffic> traffic_ = std::make_shared<detail::Traffic>();
  const bool proxied_;
  const std::shared_ptr<Connection> usual_;
  const bool dead_;
  std::atomic<bool> warm_{false};
  struct Spare {
    std::once_flag once;
    std::shared_ptr<Connection> connection;
  };
  std::array<Spare, 16> spares_;
};

/// The most that a server may send beside messages.
inline constexpr int kMostMetadataBytes = 8 << 20;

/// What all channels of a client are made with. `max_receive_bytes` bounds one reply; `server_name`, where it is not
/// empty, is whom TLS expects in place of the target. The keys are spelled out, since gRPC moved the macros that name
/// them from one header to another.
inline grpc::ChannelArguments Arguments(int max_receive_bytes, const ConnectionOptions& options,
                                        const std::string& server_name) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_receive_bytes);
  arguments.SetMaxSendMessageSize(static_cast<int>(options.max_send_message_bytes));
  arguments.SetUserAgentPrefix(
      detail::Cat(options.user_agent, options.user_agent.empty() ? "" : " ", "inferwire/" INFERWIRE_VERSION));
  // gRPC waits up to two minutes between connection attempts; a restarted server is to be used within a second.
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 100);
  arguments.SetInt("grpc.min_reconnect_backoff_ms",
                   Milliseconds(options.connect_timeout));  // min_reconnect_backoff is also gRPC's connect timeout
  arguments.SetInt("grpc.max_reconnect_backoff_ms", Milliseconds(options.max_reconnect_backoff));
  // A name is looked up again when its addresses fail, and a server that moved is to be found soon; gRPC's own is half
  // a minute.
  arguments.SetInt("grpc.dns_min_time_between_resolutions_ms", 1000);
  // Nobody asks for this client's channelz pages, and keeping them costs a twentieth of a small call.
  arguments.SetInt("grpc.enable_channelz", 0);
  // Without its probe gRPC announces a window of 64 KiB for the connection, whatever those of its streams are, and one
  // MiB more for each that is being read: a round trip for each MiB.
  if (options.receive_window_bytes != 0) {
    arguments.SetInt("grpc.http2.bdp_probe", 0);
    arguments.SetInt("grpc.http2.lookahead_bytes", static_cast<int>(options.receive_window_bytes));
  }
  // Error texts and details travel in trailers, and what exceeds the limit takes the status with it. gRPC's default of
  // 8 KiB is little for them; a model's Python traceback can be long. Newer versions refuse some of what is over the
  // first limit, and all that is over the second.
  arguments.SetInt("grpc.max_metadata_size", kMostMetadataBytes);
  arguments.SetInt("grpc.absolute_max_metadata_size", kMostMetadataBytes);
  if (!options.authority.empty()) arguments.SetString("grpc.default_authority", options.authority);
  if (options.keepalive_time != absl::InfiniteDuration()) {
    arguments.SetInt("grpc.keepalive_permit_without_calls", options.keepalive_without_calls ? 1 : 0);
    // gRPC otherwise stops after two PINGs without data in between: just when an answer takes long.
    arguments.SetInt("grpc.http2.max_pings_without_data", 0);
  }
  if (!options.service_config.empty()) arguments.SetServiceConfigJSON(options.service_config);
  if (!server_name.empty()) arguments.SetSslTargetNameOverride(server_name);
  return arguments;
}

/// Tells options apart: connections may be shared where it agrees.
inline std::string IdentityOf(const ConnectionOptions& o) {
  return detail::Cat(absl::FormatDuration(o.keepalive_time), " ", absl::FormatDuration(o.keepalive_timeout), " ",
                     o.keepalive_without_calls ? 1 : 0, " ", absl::FormatDuration(o.max_age), " ",
                     absl::FormatDuration(o.lent_memory_timeout), " ", absl::FormatDuration(o.connect_timeout), " ",
                     absl::FormatDuration(o.max_reconnect_backoff), " ", o.max_send_message_bytes, " ",
                     o.receive_window_bytes, " ", o.user_agent.size(), " ", o.user_agent, o.authority.size(), " ",
                     o.authority, o.use_proxy ? 1 : 0, " ", o.service_config.size(), " ", o.service_config);
}

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_CHANNEL_H_
