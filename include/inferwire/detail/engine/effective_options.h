// SPDX-License-Identifier: Apache-2.0
//
// Which option is in force for a call: its own, or the client's. Asked once.
#ifndef INFERWIRE_DETAIL_ENGINE_EFFECTIVE_OPTIONS_H_
#define INFERWIRE_DETAIL_ENGINE_EFFECTIVE_OPTIONS_H_

#include "inferwire/bearer_token.h"
#include "inferwire/call_options.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/options/connection_options.h"
#include "inferwire/options/hedge_policy.h"
#include "inferwire/options/retry_policy.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Refers to both, which outlive it.
struct EffectiveOptions {
  absl::Duration attempt_timeout;
  absl::Duration idle_timeout;
  absl::Duration first_message_timeout;
  bool idempotent;
  Compression compression;
  const RetryPolicy& retry;
  const HedgePolicy* hedge;  ///< null: none
  /// Null: none, also where the call brings an `authorization` of its own.
  const BearerToken* token;
};

inline EffectiveOptions Resolve(const ClientOptions& client, const CallOptions& call) {
  const auto own = [](const auto& one, const auto& other) { return one.has_value() ? &*one : other; };
  const bool brings_authorization = wire::Has(call.metadata, wire::kAuthorization);
  return {call.attempt_timeout.value_or(client.attempt_timeout),
          call.idle_timeout.value_or(client.idle_timeout),
          call.first_message_timeout.value_or(client.first_message_timeout),
          call.idempotent.value_or(client.idempotent),
          call.compression.value_or(client.compression),
          *own(call.retry, &client.retry),
          own(call.hedge, client.hedge.has_value() ? &*client.hedge : nullptr),
          own(call.token, client.token.has_value() && !brings_authorization ? &*client.token : nullptr)};
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_EFFECTIVE_OPTIONS_H_
