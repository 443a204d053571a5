// SPDX-License-Identifier: Apache-2.0
//
// What to ask a target to know whether it can serve, and how to read the answer.
#ifndef INFERWIRE_DETAIL_CHANNEL_HEALTH_H_
#define INFERWIRE_DETAIL_CHANNEL_HEALTH_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/reader.h"
#include "inferwire/detail/wire/writer.h"
#include "inferwire/options/health_policy.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace channel {

inline absl::Status Validate(const HealthPolicy& policy) {
  if (policy.interval < absl::Milliseconds(10) || policy.timeout <= absl::ZeroDuration()) {
    return detail::InvalidArgumentError(detail::Cat("health.interval is ", absl::FormatDuration(policy.interval),
                                                    " and timeout ", absl::FormatDuration(policy.timeout),
                                                    "; expected at least 10ms, and a positive duration"));
  }
  if (policy.check_service.has_value() && policy.readiness.has_value()) {
    return detail::InvalidArgumentError("health has a check_service and a readiness; expected one of them");
  }
  if (policy.readiness.has_value() && (policy.readiness->ready == nullptr || policy.readiness->path == nullptr)) {
    return detail::InvalidArgumentError(
        "health.readiness lacks a path or a function; expected ServerReady or ModelReady");
  }
  if (policy.check_service.has_value() && !detail::IsUtf8(*policy.check_service)) {
    return detail::InvalidArgumentError("health.check_service is not UTF-8; expected the name of a service");
  }
  if (policy.check_service.has_value() && policy.check_service->size() > 4096) {
    return detail::InvalidArgumentError(
        detail::Cat("health.check_service has ", policy.check_service->size(), " characters; expected at most 4096"));
  }
  return absl::OkStatus();
}

/// grpc.health.v1's methods; they live as long as the process.
inline const std::string& HealthCheckPath() {
  static const std::string* const path = new std::string("/grpc.health.v1.Health/Check");
  return *path;
}
inline const std::string& HealthWatchPath() {
  static const std::string* const path = new std::string("/grpc.health.v1.Health/Watch");
  return *path;
}

/// grpc.health.v1.HealthCheckRequest: string service = 1.
inline std::string EncodeHealthRequest(std::string_view service) {
  return service.empty() ? "" : wire::Field(1, service);
}

/// grpc.health.v1.HealthCheckResponse: status = 1, where SERVING is 1. What is malformed is not healthy.
inline bool DecodeHealthResponse(wire::Reply&& reply) {
  const std::string bytes = wire::CopyBytes(reply.buffer());
  wire::Reader reader(bytes);
  std::uint64_t status = 0;
  while (reader.Next()) {
    if (reader.field() == 1 && reader.type() == wire::Reader::kVarint) status = reader.number();
  }
  return reader.ok() && status == 1;
}

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_HEALTH_H_
