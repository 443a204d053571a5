// SPDX-License-Identifier: Apache-2.0
//
// Which options make sense.
#ifndef INFERWIRE_DETAIL_ENGINE_VALIDATE_H_
#define INFERWIRE_DETAIL_ENGINE_VALIDATE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "inferwire/bearer_token.h"
#include "inferwire/call_options.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/credentials.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/endpoint.h"
#include "inferwire/detail/channel/health.h"
#include "inferwire/detail/channel/outlier.h"
#include "inferwire/detail/channel/target.h"
#include "inferwire/detail/policy/budget.h"
#include "inferwire/detail/policy/hedge.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

namespace detail {

inline absl::Status ValidateTargets(const std::vector<std::string>& targets) {
  if (targets.empty())
    return InvalidArgumentError("targets is empty; expected at least one, such as \"localhost:50051\"");
  for (const std::string& target : targets) {
    if (absl::Status status = channel::ValidateTarget(target); !status.ok()) return status;
    if (absl::Status status = channel::ValidateSurroundings(target); !status.ok()) return status;
  }
  return absl::OkStatus();
}

inline absl::Status ValidateToken(const std::optional<BearerToken>& token, const Credentials& credentials,
                                  const Metadata& metadata) {
  if (token.has_value() && wire::Has(metadata, wire::kAuthorization)) {
    return InvalidArgumentError("token: metadata beside it has an 'authorization' too; expected one of the two");
  }
  if (!token.has_value() || credentials.secure() || token->allows_plaintext()) return absl::OkStatus();
  return InvalidArgumentError(
      "token: a bearer token over plaintext can be read and used by anyone on the way; use Tls() credentials, or say "
      "BearerToken::EvenOverPlaintext()");
}

/// INVALID_ARGUMENT naming the field, what was given and what was expected.
inline absl::Status Validate(const ClientOptions& options) {
  if (absl::Status status = ValidateTargets(options.targets); !status.ok()) return status;
  const struct {
    const char* name;
    absl::Duration value;
  } durations[] = {{"timeout", options.timeout},
                   {"stream_timeout", options.stream_timeout},
                   {"idle_timeout", options.idle_timeout},
                   {"first_message_timeout", options.first_message_timeout},
                   {"attempt_timeout", options.attempt_timeout}};
  for (const auto& [name, value] : durations) {
    if (value <= absl::ZeroDuration()) {
      return InvalidArgumentError(Cat(name, " is ", absl::FormatDuration(value), "; expected a positive duration"));
    }
  }
  if (options.max_receive_message_bytes < 1 ||
      options.max_receive_message_bytes > (std::numeric_limits<std::int32_t>::max)()) {
    return InvalidArgumentError(Cat("max_receive_message_bytes is ", options.max_receive_message_bytes,
                                    "; expected 1 to 2147483647, the most that gRPC can receive"));
  }
  if (absl::Status status = channel::Validate(options.pool); !status.ok()) return status;
  if (absl::Status status = channel::Validate(options.connection); !status.ok()) return status;
  if (absl::Status status = channel::Validate(options.health); !status.ok()) return status;
  if (absl::Status status = channel::Validate(options.outliers); !status.ok()) return status;
  if (absl::Status status = ValidateToken(options.token, options.credentials, options.metadata); !status.ok())
    return status;
  if (absl::Status status = policy::Validate(options.retry); !status.ok()) return status;
  if (absl::Status status = policy::Validate(options.retry_budget); !status.ok()) return status;
  if (options.hedge.has_value()) {
    if (absl::Status status = policy::Validate(*options.hedge); !status.ok()) return status;
  }
  if (!options.affinity_header.empty()) {
    if (absl::Status status = wire::ValidateMetadata({{options.affinity_header, "x"}}); !status.ok()) {
      return MakeError(status.code(), Cat("affinity_header: ", ToStd(status.message())));
    }
  }
  return wire::ValidateMetadata(options.metadata);
}

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_VALIDATE_H_
