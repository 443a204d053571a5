// SPDX-License-Identifier: Apache-2.0
//
// The google.rpc error details that servers attach to a status, as plain structs.
#ifndef INFERWIRE_ERROR_DETAILS_H_
#define INFERWIRE_ERROR_DETAILS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace inferwire {
inline namespace v0 {

// The fields are those of google/rpc/error_details.proto; what the server did not set is empty.

struct LocalizedMessage {
  std::string locale;
  std::string message;
};
/// Why, for programs: a constant of the domain.
struct ErrorInfo {
  std::string reason;
  std::string domain;
  std::map<std::string, std::string> metadata;
};
/// How long the server wants to be left alone.
struct RetryInfo {
  absl::Duration retry_delay;
};
struct DebugInfo {
  std::vector<std::string> stack_entries;
  std::string detail;
};
struct QuotaFailure {
  struct Violation {
    std::string subject;
    std::string description;
    std::string api_service;
    std::string quota_metric;
    std::string quota_id;
    std::map<std::string, std::string> quota_dimensions;
    std::int64_t quota_value = 0;
    std::optional<std::int64_t> future_quota_value;
  };
  std::vector<Violation> violations;
};
struct PreconditionFailure {
  struct Violation {
    std::string type;
    std::string subject;
    std::string description;
  };
  std::vector<Violation> violations;
};
struct BadRequest {
  struct FieldViolation {
    std::string field;
    std::string description;
    std::string reason;
    std::optional<LocalizedMessage> localized_message;
  };
  std::vector<FieldViolation> field_violations;
};
struct RequestInfo {
  std::string request_id;
  std::string serving_data;
};
struct ResourceInfo {
  std::string resource_type;
  std::string resource_name;
  std::string owner;
  std::string description;
};
struct Help {
  struct Link {
    std::string description;
    std::string url;
  };
  std::vector<Link> links;
};

using ErrorDetail = std::variant<ErrorInfo, RetryInfo, DebugInfo, QuotaFailure, PreconditionFailure, BadRequest,
                                 RequestInfo, ResourceInfo, Help, LocalizedMessage>;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ERROR_DETAILS_H_
