// SPDX-License-Identifier: Apache-2.0
//
// gRPC's statuses and metadata, to and from ours.
#ifndef INFERWIRE_DETAIL_WIRE_STATUS_H_
#define INFERWIRE_DETAIL_WIRE_STATUS_H_

#include <absl/status/status.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/error_details.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// The same code and message, made printable. Codes that no one defined (a server may send any number) become UNKNOWN,
/// and say so.
inline absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  const std::string said = status.error_message();
  // gRPC's own text of a failed handshake ends with hundreds of zeros.
  std::string text = said;
  if (text.find(std::string(8, '\0')) != std::string::npos) std::erase(text, '\0');
  if (code < 1 || code > 16) {
    return detail::SaidError(absl::StatusCode::kUnknown, detail::Cat("status code ", code, ": ", text), said);
  }
  return detail::SaidError(static_cast<absl::StatusCode>(code), text, said);
}

inline Metadata FromGrpc(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  Metadata out;
  out.reserve(metadata.size());
  for (const auto& [key, value] : metadata) {
    out.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return out;
}

/// How long the server asked to be left alone, negative where it asked not to be tried again: the trailer
/// grpc-retry-pushback-ms (gRFC A6, where a value that is no number means the latter), else google.rpc.RetryInfo.
inline std::optional<absl::Duration> Pushback(const std::multimap<grpc::string_ref, grpc::string_ref>& trailers,
                                              const std::vector<ErrorDetail>& details) {
  if (const auto found = trailers.find("grpc-retry-pushback-ms"); found != trailers.end()) {
    std::int32_t ms = 0;
    const bool number = absl::SimpleAtoi(absl::string_view(found->second.data(), found->second.size()), &ms);
    return absl::Milliseconds(number ? ms : -1);
  }
  for (const ErrorDetail& detail : details) {
    if (const auto* info = std::get_if<RetryInfo>(&detail)) {
      return (std::max)(info->retry_delay, absl::ZeroDuration());
    }
  }
  return std::nullopt;
}

/// Whether an error says that a message exceeds a limit, this side's or the server's: the same message will again.
/// gRPC has no other sign for it than these words of its C++, Go and Java libraries.
inline bool MessageTooLarge(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted &&
         (absl::StrContains(status.message(), "message larger than max") ||
          absl::StrContains(status.message(), "message exceeds maximum size"));
}

/// Whether such an end can only have come from a server, and not from this side or the way between.
inline bool FromServer(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::UNAVAILABLE:
      return false;
    default:
      return true;
  }
}

/// Whether a call that ended so has no answer: it was cut off, by the server, or by what stands between. What a server
/// says on its own account is one, an error too. gRPC gives a stream that was reset INTERNAL or UNKNOWN, and only
/// words.
inline bool CutOff(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnavailable:
      return true;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return absl::StrContains(status.message(), "RST_STREAM") || absl::StartsWith(status.message(), "Stream removed");
    default:
      return false;
  }
}

/// Where tokens go.
inline constexpr std::string_view kAuthorization = "authorization";

/// Whether there is an entry of that key.
inline bool Has(const Metadata& metadata, std::string_view key) {
  return std::any_of(metadata.begin(), metadata.end(), [&](const auto& entry) { return entry.first == key; });
}

/// Why a key that HTTP/2 could carry is refused all the same; "" for all others. gRPC drops some keys without a word,
/// aborts the process on one, and sends those of HTTP/1's connections, on which proxies reset HTTP/2's (RFC
/// 9113, 8.2.2).
inline std::string_view WhyReserved(std::string_view key) {
  constexpr std::string_view kConnection = "is about a single connection of HTTP/1, and proxies reset HTTP/2's on it";
  constexpr std::string_view kTransport = "is set by gRPC itself; another value would not be sent";
  constexpr std::string_view kBalancer = "is kept by gRPC for balancers of its own";
  constexpr std::pair<std::string_view, std::string_view> kReserved[] = {
      {"connection", kConnection},
      {"keep-alive", kConnection},
      {"proxy-connection", kConnection},
      {"transfer-encoding", kConnection},
      {"upgrade", kConnection},
      {"http2-settings", kConnection},
      {"te", kTransport},
      {"content-type", kTransport},
      {"content-length", kTransport},
      {"host", "is not sent over HTTP/2; ConnectionOptions::authority says whom a call is for"},
      {"user-agent", "is set by gRPC itself; ConnectionOptions::user_agent stands in front of its value"},
      {"grpclb_client_stats", kBalancer},
      {"lb-cost-bin", kBalancer},
      {"endpoint-load-metrics-bin", kBalancer},
  };
  for (const auto& [reserved, why] : kReserved) {
    if (key == reserved) return why;
  }
  return key.starts_with("grpc-") ? "begins with 'grpc-', which is reserved" : std::string_view();
}

/// INVALID_ARGUMENT where a value is none of printable ASCII. It may be a secret: it is not repeated.
inline absl::Status ValidateMetadataValue(std::string_view key, std::string_view value) {
  if (std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7e; })) return absl::OkStatus();
  return detail::InvalidArgumentError(
      detail::Cat("metadata: the value of '", key,
                  "' holds a character outside printable ASCII; binary values need a key that ends in '-bin'"));
}

/// INVALID_ARGUMENT naming the first entry that gRPC does not send: it aborts the process on some.
/// (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md, "Custom-Metadata".)
inline absl::Status ValidateMetadata(const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key.empty()) return detail::InvalidArgumentError("metadata: a key is empty");
    for (char c : key) {
      const bool legal = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      if (!legal) {
        return detail::InvalidArgumentError(
            detail::Cat("metadata: the key '", absl::CHexEscape(key), "' may hold only a-z, 0-9, '-', '_' and '.'"));
      }
    }
    if (const std::string_view why = WhyReserved(key); !why.empty()) {
      return detail::InvalidArgumentError(detail::Cat("metadata: the key '", key, "' ", why));
    }
    if (key.ends_with("-bin")) continue;
    if (absl::Status status = ValidateMetadataValue(key, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_STATUS_H_
