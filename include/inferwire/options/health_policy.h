// SPDX-License-Identifier: Apache-2.0
//
// What to ask a target to know whether it can serve.
#ifndef INFERWIRE_OPTIONS_HEALTH_POLICY_H_
#define INFERWIRE_OPTIONS_HEALTH_POLICY_H_

#include <absl/time/time.h>

#include <optional>
#include <string>

#include "inferwire/clock.h"
#include "inferwire/detail/wire/message.h"

namespace inferwire {
inline namespace v0 {

/// A question of a contract's own: whether the server, or one of its models, is ready. See ServerReady and ModelReady.
struct ReadinessCheck {
  const std::string* path = nullptr;  ///< of an Rpc: it lives as long as the process
  std::string request;                ///< serialised
  /// The answer. What is malformed counts as not ready, and so does an exception.
  bool (*ready)(detail::wire::Reply&& reply) = nullptr;
};

/// Whether, and how, targets are asked. One that says no is left out until it says yes. A server that does not know the
/// question (UNIMPLEMENTED) has no opinion, and is used; so is one that was not heard yet. Where no target is healthy
/// all are used (OutlierPolicy::panic_threshold).
struct HealthPolicy {
  /// grpc.health.v1 (gRFC A17): a stream of what the server says of this service, else a question each `interval`.
  /// "" is the server as a whole; unset: off.
  std::optional<std::string> check_service = std::nullopt;
  /// In place of grpc.health.v1, asked each `interval`: `.readiness = inferwire::ModelReady<OpenInference>("digits")`.
  std::optional<ReadinessCheck> readiness = std::nullopt;
  /// Between questions, and before a stream that broke is opened again.
  Duration interval = absl::Seconds(1);
  /// Of one question. No answer is a no.
  Duration timeout = absl::Seconds(1);
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_HEALTH_POLICY_H_
