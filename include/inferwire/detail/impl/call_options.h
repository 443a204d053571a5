// SPDX-License-Identifier: Apache-2.0
//
// Which limits of a call leave time, and what it says for itself.
#ifndef INFERWIRE_DETAIL_IMPL_CALL_OPTIONS_H_
#define INFERWIRE_DETAIL_IMPL_CALL_OPTIONS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <optional>

#include "inferwire/call_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

INFERWIRE_DECL absl::Status ValidateLimits(const CallOptions& options) {
  const struct {
    const char* name;
    const std::optional<Duration>& value;
  } limits[] = {{"attempt_timeout", options.attempt_timeout},
                {"idle_timeout", options.idle_timeout},
                {"first_message_timeout", options.first_message_timeout}};
  for (const auto& [name, value] : limits) {
    if (value.has_value() && *value <= absl::ZeroDuration()) {
      return InvalidArgumentError(Cat(name, " is ", absl::FormatDuration(*value), "; expected a positive duration"));
    }
  }
  return absl::OkStatus();
}

INFERWIRE_DECL bool HasOwnHeaders(const CallOptions& options) {
  return !options.metadata.empty() || options.token.has_value() || options.compression.has_value() ||
         options.parent != nullptr;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_CALL_OPTIONS_H_
