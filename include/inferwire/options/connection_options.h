// SPDX-License-Identifier: Apache-2.0
//
// What the connections of a client are like, and how what they carry is compressed.
#ifndef INFERWIRE_OPTIONS_CONNECTION_OPTIONS_H_
#define INFERWIRE_OPTIONS_CONNECTION_OPTIONS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <limits>
#include <string>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {

/// How requests are compressed on their way. Who sends them so takes answers so, too; else a server is told that
/// answers are not taken so, and one that does not heed it has its calls end with an error, and nothing inflated. gRPC
/// inflates a message before it looks at its size: a compressed answer, itself bounded by max_receive_message_bytes,
/// can make the process allocate a thousand times of that. So this is for servers that one trusts. Numbers compress
/// badly and networks are quick: it pays for long texts over slow links.
enum class Compression { kNone, kDeflate, kGzip };

/// What every connection of a client is like.
struct ConnectionOptions {
  /// HTTP/2 PINGs after so much silence, so that a peer that is gone without a word is noticed. Off, since servers
  /// close connections that ping more often than they allow: one a 5 minutes is gRPC's own limit, see
  /// GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS on the server's side. At least 10 s. Connections on which
  /// memory is lent have none, unless keepalive_timeout is no longer than lent_memory_timeout.
  Duration keepalive_time = absl::InfiniteDuration();
  /// A PING that is not answered for so long ends the connection; and so does, PINGs or not, what was sent and is not
  /// acknowledged by the peer's kernel for so long (Linux: TCP_USER_TIMEOUT).
  Duration keepalive_timeout = absl::Seconds(20);
  /// PINGs also while there is no call; servers must allow that (GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS).
  bool keepalive_without_calls = false;
  /// A connection takes no new calls after so long, give or take a tenth, and is closed once those it carries have
  /// ended: so that clients find new servers behind a balancer that balances connections.
  Duration max_age = absl::InfiniteDuration();
  /// How long an attempt to connect may take, with TLS and the server's first word; gRPC's own is 20 s. Addresses that
  /// swallow packets cost the first calls that much, where their attempt_timeout is not shorter; a path on which a
  /// connection takes longer is never connected. At least 100 ms.
  Duration connect_timeout = absl::Seconds(3);
  /// How long to wait between attempts to connect, at most; gRPC's own is two minutes.
  Duration max_reconnect_backoff = absl::Seconds(1);
  /// Stands before "inferwire/VERSION grpc-c++/..." in the header user-agent.
  std::string user_agent = {};
  /// The header :authority, by which gateways route (Istio, Knative, a KServe ingress), where it is not the target's
  /// host and port. Over TLS it is also the name that the server's certificate must bear, unless
  /// TlsOptions::server_name says another.
  std::string authority = {};
  /// Whether the proxies that the environment names (grpc_proxy, https_proxy, http_proxy, but for the hosts of
  /// no_proxy) are used, as gRPC does by itself. Never for targets on this machine (loopback, unix sockets), nor by
  /// calls that carry an `authorization` over plaintext, since the proxy would read it: these connect directly.
  bool use_proxy = true;
  /// gRPC's service config, as JSON, for those who let gRPC balance the addresses behind one target:
  /// `{"loadBalancingConfig": [{"round_robin": {}}]}`. (github.com/grpc/grpc, doc/service_config.md.) Its limits for
  /// methods (timeout, waitForReady, message sizes) hold beside the client's own. Retries and hedges are the client's:
  /// retryPolicy, hedgingPolicy and retryThrottling are refused.
  std::string service_config = {};
  /// A call that lent memory ends only when the transport has let go of it. Where its peer takes nothing more, the
  /// connection is closed after so long, so that the call ends no later than about this after its deadline or its
  /// cancellation. Such calls have a connection of their own; what is slower than this on the way breaks it. At least
  /// 100 ms.
  Duration lent_memory_timeout = absl::Seconds(1);
  /// The largest request sent, in bytes; what exceeds it ends the call with RESOURCE_EXHAUSTED before it is sent.
  std::int64_t max_send_message_bytes = (std::numeric_limits<std::int32_t>::max)();
  /// How many bytes a server may send of a call ahead of its reader: what a stream that is not read holds of memory
  /// beyond the messages that it has read ahead. With 0 gRPC finds out what the path carries: 4 MiB, which grow up to
  /// 32 MiB as large answers come (gRPC 1.51; newer ones have no such bound). A number, 64 KiB to 1 GiB, holds from the
  /// start and for good; then a large answer takes a round trip for each MiB, which tells from about a millisecond on.
  std::int64_t receive_window_bytes = 0;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_CONNECTION_OPTIONS_H_
