// SPDX-License-Identifier: Apache-2.0
//
// The google.rpc.Status that travels in the trailer grpc-status-details-bin, read without generated code: an
// application may well bring its own copy of those protos.
#ifndef INFERWIRE_DETAIL_WIRE_ERROR_DETAILS_H_
#define INFERWIRE_DETAIL_WIRE_ERROR_DETAILS_H_

#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/wire/reader.h"
#include "inferwire/error_details.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {
namespace details {

/// Calls `on` with every field of the message that is bytes, and `on_number` with every one that is a number; false if
/// the message is malformed.
template <class OnBytes, class OnNumber>
bool ForEachField(std::string_view message, OnBytes on, OnNumber on_number) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.type() == Reader::kBytes) {
      if (!on(reader.field(), reader.bytes())) return false;
    } else {
      on_number(reader.field(), reader.number());
    }
  }
  return reader.ok();
}
inline void IgnoreNumber(std::uint32_t, std::uint64_t) {}

// A few bytes stand for an object of hundreds: of each kind at most so many are kept, more than any server means.
constexpr std::size_t kMostDetails = 64, kMostEntries = 256;

/// A message that holds only strings, given in the order of their field numbers, from 1.
template <class... Strings>
bool ReadStrings(std::string_view message, Strings&... strings) {
  std::string* const fields[] = {&strings...};
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        if (field <= sizeof...(strings)) *fields[field - 1] = bytes;
        return true;
      },
      IgnoreNumber);
}

inline bool ReadEntry(std::string_view message, std::map<std::string, std::string>& map) {
  std::string key, value;
  if (!ReadStrings(message, key, value)) return false;
  if (map.size() < kMostEntries) map.insert_or_assign(std::move(key), std::move(value));
  return true;
}

inline bool ReadDuration(std::string_view message, absl::Duration& duration) {
  std::int64_t seconds = 0, nanos = 0;
  const bool ok = ForEachField(
      message, [](std::uint32_t, std::string_view) { return true; },
      [&](std::uint32_t field, std::uint64_t number) {
        if (field == 1) seconds = static_cast<std::int64_t>(number);
        if (field == 2) nanos = static_cast<std::int32_t>(number);
      });
  // google/protobuf/duration.proto: ten thousand years either way, and less than a second of nanoseconds.
  constexpr std::int64_t kMostSeconds = 315'576'000'000, kMostNanos = 999'999'999;
  if (!ok || seconds < -kMostSeconds || seconds > kMostSeconds || nanos < -kMostNanos || nanos > kMostNanos)
    return false;
  duration = absl::Seconds(seconds) + absl::Nanoseconds(nanos);
  return true;
}

/// Repeated messages in field `number`, each read by `read`; those beyond the most are skipped.
template <class T, class Read>
bool ReadRepeated(std::string_view message, std::uint32_t number, std::vector<T>& out, Read read) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        return field != number || out.size() == kMostEntries || read(bytes, out.emplace_back());
      },
      IgnoreNumber);
}

inline bool Read(std::string_view message, ErrorInfo& out) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        if (field == 1) out.reason = bytes;
        if (field == 2) out.domain = bytes;
        return field != 3 || ReadEntry(bytes, out.metadata);
      },
      IgnoreNumber);
}
inline bool Read(std::string_view message, RetryInfo& out) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) { return field != 1 || ReadDuration(bytes, out.retry_delay); },
      IgnoreNumber);
}
inline bool Read(std::string_view message, DebugInfo& out) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        if (field == 1 && out.stack_entries.size() < kMostEntries) out.stack_entries.emplace_back(bytes);
        if (field == 2) out.detail = bytes;
        return true;
      },
      IgnoreNumber);
}
inline bool Read(std::string_view message, QuotaFailure::Violation& out) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        std::string* const strings[] = {&out.subject, &out.description, &out.api_service, &out.quota_metric,
                                        &out.quota_id};
        if (field <= 5) *strings[field - 1] = bytes;
        return field != 6 || ReadEntry(bytes, out.quota_dimensions);
      },
      [&](std::uint32_t field, std::uint64_t number) {
        if (field == 7) out.quota_value = static_cast<std::int64_t>(number);
        if (field == 8) out.future_quota_value = static_cast<std::int64_t>(number);
      });
}
inline bool Read(std::string_view message, QuotaFailure& out) {
  return ReadRepeated(message, 1, out.violations, [](std::string_view bytes, QuotaFailure::Violation& violation) {
    return Read(bytes, violation);
  });
}
inline bool Read(std::string_view message, PreconditionFailure& out) {
  return ReadRepeated(message, 1, out.violations,
                      [](std::string_view bytes, PreconditionFailure::Violation& violation) {
                        return ReadStrings(bytes, violation.type, violation.subject, violation.description);
                      });
}
inline bool Read(std::string_view message, LocalizedMessage& out) {
  return ReadStrings(message, out.locale, out.message);
}
inline bool Read(std::string_view message, BadRequest::FieldViolation& out) {
  return ForEachField(
      message,
      [&](std::uint32_t field, std::string_view bytes) {
        if (field == 1) out.field = bytes;
        if (field == 2) out.description = bytes;
        if (field == 3) out.reason = bytes;
        return field != 4 || Read(bytes, out.localized_message.emplace());
      },
      IgnoreNumber);
}
inline bool Read(std::string_view message, BadRequest& out) {
  return ReadRepeated(
      message, 1, out.field_violations,
      [](std::string_view bytes, BadRequest::FieldViolation& violation) { return Read(bytes, violation); });
}
inline bool Read(std::string_view message, RequestInfo& out) {
  return ReadStrings(message, out.request_id, out.serving_data);
}
inline bool Read(std::string_view message, ResourceInfo& out) {
  return ReadStrings(message, out.resource_type, out.resource_name, out.owner, out.description);
}
inline bool Read(std::string_view message, v0::Help& out) {
  return ReadRepeated(message, 1, out.links, [](std::string_view bytes, Help::Link& link) {
    return ReadStrings(bytes, link.description, link.url);
  });
}

template <class T>
std::optional<ErrorDetail> Try(std::string_view name, std::string_view expected, std::string_view message) {
  T detail;
  if (name != expected || !Read(message, detail)) return std::nullopt;
  return detail;
}

/// None where the name is not one of google.rpc's, or the message is malformed.
inline std::optional<ErrorDetail> ReadAny(std::string_view name, std::string_view message) {
  if (auto detail = Try<ErrorInfo>(name, "ErrorInfo", message)) return detail;
  if (auto detail = Try<RetryInfo>(name, "RetryInfo", message)) return detail;
  if (auto detail = Try<DebugInfo>(name, "DebugInfo", message)) return detail;
  if (auto detail = Try<QuotaFailure>(name, "QuotaFailure", message)) return detail;
  if (auto detail = Try<PreconditionFailure>(name, "PreconditionFailure", message)) return detail;
  if (auto detail = Try<BadRequest>(name, "BadRequest", message)) return detail;
  if (auto detail = Try<RequestInfo>(name, "RequestInfo", message)) return detail;
  if (auto detail = Try<ResourceInfo>(name, "ResourceInfo", message)) return detail;
  if (auto detail = Try<v0::Help>(name, "Help", message)) return detail;
  return Try<LocalizedMessage>(name, "LocalizedMessage", message);
}

}  // namespace details

/// The details in a serialised google.rpc.Status, in order. Those of unknown type, malformed ones, and what is beyond
/// any use (details after the 64th, entries after the 256th of a detail) are skipped;
/// of a status that is itself malformed, what comes before the fault is kept.
inline std::vector<ErrorDetail> ReadErrorDetails(std::string_view status) {
  std::vector<ErrorDetail> out;
  Reader reader(status);
  while (out.size() < details::kMostDetails && reader.Next()) {
    if (reader.field() != 3 || reader.type() != Reader::kBytes) continue;
    std::string type_url, message;
    if (!details::ReadStrings(reader.bytes(), type_url, message)) continue;
    // "type.googleapis.com/google.rpc.RetryInfo"; whose host it is does not matter.
    const std::string_view name = std::string_view(type_url).substr(type_url.rfind('/') + 1);
    constexpr std::string_view kPackage = "google.rpc.";
    if (!name.starts_with(kPackage)) continue;
    if (auto detail = details::ReadAny(name.substr(kPackage.size()), message)) out.push_back(*std::move(detail));
  }
  return out;
}

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_ERROR_DETAILS_H_
