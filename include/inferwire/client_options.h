// SPDX-License-Identifier: Apache-2.0
//
// What a client is made of. Every default stands here, on its field, with its reason.
#ifndef INFERWIRE_CLIENT_OPTIONS_H_
#define INFERWIRE_CLIENT_OPTIONS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inferwire/bearer_token.h"
#include "inferwire/clock.h"
#include "inferwire/credentials.h"
#include "inferwire/executor.h"
#include "inferwire/observe/observer.h"
#include "inferwire/options/connection_options.h"
#include "inferwire/options/health_policy.h"
#include "inferwire/options/hedge_policy.h"
#include "inferwire/options/outlier_policy.h"
#include "inferwire/options/pool_policy.h"
#include "inferwire/options/retry_budget.h"
#include "inferwire/options/retry_policy.h"
#include "inferwire/options/target_order.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

// Structs are initialised by T(), not by {}: see RetryPredicate.
struct ClientOptions {
  /// Any gRPC targets: host:port, dns:///host:port, unix:path, xds:///name. Several: see `target_order`.
  std::vector<std::string> targets = {};
  /// TLS with the system's roots, since plaintext should be a decision: `Insecure()`.
  Credentials credentials = {};
  /// Unary calls: total time for all attempts and waits. Finite, since a call without an end is a leak.
  Duration timeout = absl::Seconds(10);
  /// Streams and sessions: total time. Infinite, since generations may be long; `idle_timeout` catches the dead ones.
  Duration stream_timeout = absl::InfiniteDuration();
  /// Streams: the longest wait for the next message while one is wanted; of sessions and uploads also for room to write
  /// and for the end, while the server neither takes nor sends anything.
  Duration idle_timeout = absl::Seconds(60);
  /// Streams: the longest wait for the first message, from the start of the call. Infinite: prompts may be long.
  Duration first_message_timeout = absl::InfiniteDuration();
  /// One attempt, until it is answered: a stream's until its first message, of sessions and uploads from the last
  /// message that was taken; what flows is for `idle_timeout`. Infinite: only the caller knows what is slow; the total
  /// caps it.
  Duration attempt_timeout = absl::InfiniteDuration();
  /// Whether calls may run twice on the server. Inference usually may.
  bool idempotent = true;
  RetryPolicy retry = RetryPolicy();
  /// Bounds the retries of all calls together, so that they do not bury servers that are down.
  RetryBudget retry_budget = RetryBudget();
  /// Extra attempts beside slow ones. Off, since they cost load: turn it on where the tail matters and servers are
  /// many.
  std::optional<HedgePolicy> hedge = std::nullopt;
  /// The connections to each target: how many.
  PoolPolicy pool = PoolPolicy();
  /// And what they are like: keepalive, age, user agent, gRPC's service config.
  ConnectionOptions connection = ConnectionOptions();
  /// Asks targets whether they can serve, and leaves out those that cannot. Off: it costs a call a second, or a stream,
  /// to each target.
  HealthPolicy health = HealthPolicy();
  /// Which targets are left out for a while since they fail, and how they come back.
  OutlierPolicy outliers = OutlierPolicy();
  /// A header that carries CallOptions::affinity to gateways which route by it ("x-session-id"), for calls that do not
  /// bring one of that name, and have headers of their own: a request on a stream that others share has none. Where an
  /// answer has a header or trailer of that name, what it says is sent in place of the key from then on, for as long as
  /// the client remembers (the last 10,000 keys). Empty: none.
  std::string affinity_header = {};
  /// What several targets are to one another.
  TargetOrder target_order = TargetOrder::kBalanced;
  /// Sent with every attempt of every call, but for keys that the call, or an observer, brings itself. A key that is
  /// given twice is sent twice.
  Metadata metadata = {};
  /// Sent with every attempt of every call, as "authorization: Bearer ...", but for calls that bring a token or an
  /// `authorization` of their own. Over plaintext only by
  /// BearerToken::EvenOverPlaintext.
  std::optional<BearerToken> token = std::nullopt;
  /// Of requests, and whether answers are taken so. Off: tensors compress badly, and answers that inflate are bounded
  /// by nothing.
  Compression compression = Compression::kNone;
  /// The largest reply taken, in bytes; what exceeds it ends the call with RESOURCE_EXHAUSTED. gRPC's own default of
  /// 4 MiB is one large image; this one bounds what a hostile server can make the process allocate for an answer, but
  /// for compressed ones, where they are taken: see Compression.
  std::int64_t max_receive_message_bytes = std::int64_t{1} << 30;
  /// Where continuations and coroutines run; unset: a small pool that all clients share.
  std::shared_ptr<Executor> executor = nullptr;
  /// Watches all calls: tracing, metrics, logs.
  std::shared_ptr<Observer> observer = nullptr;
  /// For tests: testing::FakeClock. Unset: the machine's monotonic clock.
  std::shared_ptr<Clock> clock = nullptr;
  /// For tests: what backoff draws its jitter from, uniform in [0, 1); beyond that the nearest is taken. Safe from any
  /// thread.
  std::function<double()> random = nullptr;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CLIENT_OPTIONS_H_
