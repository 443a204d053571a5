// SPDX-License-Identifier: Apache-2.0
//
// Errors that read as one line. Newer versions of Abseil note where a status was made, and print it behind the text: a
// trace with line breaks and the paths of these headers, which tell nobody anything.
#ifndef INFERWIRE_DETAIL_ERROR_H_
#define INFERWIRE_DETAIL_ERROR_H_

#include <absl/status/status.h>
#include <absl/strings/string_view.h>

#include <type_traits>
#include <utility>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A template, since older versions have no locations to leave out.
template <class Status = absl::Status>
Status MakeError(absl::StatusCode code, absl::string_view text) {
  if constexpr (requires(const Status& status) { status.GetSourceLocations(); }) {
    using Location = std::remove_cvref_t<decltype(std::declval<const Status&>().GetSourceLocations()[0])>;
    return Status(code, text, Location());
  } else {
    return Status(code, text);
  }
}

// The codes that the library gives, as Abseil names their functions.
inline absl::Status AbortedError(absl::string_view text) { return MakeError(absl::StatusCode::kAborted, text); }
inline absl::Status AlreadyExistsError(absl::string_view text) {
  return MakeError(absl::StatusCode::kAlreadyExists, text);
}
inline absl::Status CancelledError(absl::string_view text) { return MakeError(absl::StatusCode::kCancelled, text); }
inline absl::Status DeadlineExceededError(absl::string_view text) {
  return MakeError(absl::StatusCode::kDeadlineExceeded, text);
}
inline absl::Status FailedPreconditionError(absl::string_view text) {
  return MakeError(absl::StatusCode::kFailedPrecondition, text);
}
inline absl::Status InternalError(absl::string_view text) { return MakeError(absl::StatusCode::kInternal, text); }
inline absl::Status InvalidArgumentError(absl::string_view text) {
  return MakeError(absl::StatusCode::kInvalidArgument, text);
}
inline absl::Status NotFoundError(absl::string_view text) { return MakeError(absl::StatusCode::kNotFound, text); }
inline absl::Status PermissionDeniedError(absl::string_view text) {
  return MakeError(absl::StatusCode::kPermissionDenied, text);
}
inline absl::Status ResourceExhaustedError(absl::string_view text) {
  return MakeError(absl::StatusCode::kResourceExhausted, text);
}
inline absl::Status UnauthenticatedError(absl::string_view text) {
  return MakeError(absl::StatusCode::kUnauthenticated, text);
}
inline absl::Status UnavailableError(absl::string_view text) { return MakeError(absl::StatusCode::kUnavailable, text); }

/// The same error without the places that it came by.
inline absl::Status WithoutTrace(const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status out = MakeError(status.code(), status.message());
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ERROR_H_
