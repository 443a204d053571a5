// SPDX-License-Identifier: Apache-2.0
//
// gRPC's statuses and metadata, to and from ours.
#ifndef INFERWIRE_WIRE_STATUS_H_
#define INFERWIRE_WIRE_STATUS_H_

#include <absl/status/status.h>
#include <absl/strings/escaping.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <map>
#include <string>
#include <string_view>

#include "inferwire/detail/text.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace wire {

/// The same code and message. Codes that no one defined (a server may send any number) become UNKNOWN, and say so.
inline absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  if (code < 1 || code > 16) {
    return absl::UnknownError(detail::Cat("status code ", code, ": ", status.error_message()));
  }
  return absl::Status(static_cast<absl::StatusCode>(code), status.error_message());
}

inline Metadata FromGrpc(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  Metadata out;
  out.reserve(metadata.size());
  for (const auto& [key, value] : metadata) {
    out.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return out;
}

/// INVALID_ARGUMENT naming the first entry that HTTP/2 cannot carry: gRPC aborts the process on those.
/// (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md, "Custom-Metadata".)
inline absl::Status ValidateMetadata(const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key.empty()) return absl::InvalidArgumentError("metadata: a key is empty");
    for (char c : key) {
      const bool legal = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      if (!legal) {
        return absl::InvalidArgumentError(
            detail::Cat("metadata: the key '", absl::CHexEscape(key), "' may hold only a-z, 0-9, '-', '_' and '.'"));
      }
    }
    if (key.starts_with("grpc-")) {
      return absl::InvalidArgumentError(
          detail::Cat("metadata: the key '", key, "' begins with 'grpc-', which is reserved"));
    }
    if (key.ends_with("-bin")) continue;
    for (char c : value) {
      if (c < 0x20 || c > 0x7e) {
        // The value may be a secret: it is not repeated.
        return absl::InvalidArgumentError(
            detail::Cat("metadata: the value of '", key,
                        "' holds a character outside printable ASCII; binary values need a key that ends in '-bin'"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace wire
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_WIRE_STATUS_H_
