// SPDX-License-Identifier: Apache-2.0
//
// Errors that read as one line. Abseil prints the text of a status as it is, and texts hold what servers say, and their
// names: so each is made printable here, where all errors of the library are made. Newer versions of Abseil note where
// a status was made, too, and print it behind the text: a trace with line breaks and the paths of these headers, which
// tell nobody anything.
#ifndef INFERWIRE_DETAIL_BASE_ERROR_H_
#define INFERWIRE_DETAIL_BASE_ERROR_H_

#include <absl/status/status.h>
#include <absl/strings/cord.h>
#include <absl/strings/string_view.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "inferwire/detail/base/printable.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A template, since older versions have no locations to leave out.
template <class Status = absl::Status>
Status MakeError(absl::StatusCode code, absl::string_view said) {
  const std::string text = Printable(ToStd(said));
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

/// Of an answer that says two things of one: what a server sends is hostile until it is checked.
inline absl::Status Contradiction(std::string_view what) {
  return InternalError(Cat("the server's answer contradicts itself: ", what));
}

/// The same error with another text.
inline absl::Status Reworded(const absl::Status& status, absl::string_view text) {
  absl::Status out = MakeError(status.code(), text);
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

/// The same error without the places that it came by.
inline absl::Status WithoutTrace(const absl::Status& status) {
  return status.ok() ? status : Reworded(status, status.message());
}

/// Where the bytes are that a text was made of, if those are others.
inline constexpr absl::string_view kSaidUrl = "said";

/// What a peer has said, with its very bytes beside the printable text.
inline absl::Status SaidError(absl::StatusCode code, absl::string_view text, const std::string& said) {
  absl::Status out = MakeError(code, text);
  if (out.message() != said) out.SetPayload(kSaidUrl, absl::Cord(said));
  return out;
}
inline absl::Status SaidError(absl::StatusCode code, const std::string& said) { return SaidError(code, said, said); }

/// The bytes, where there are such; else the text.
inline std::string WhatWasSaid(const absl::Status& status) {
  const auto said = status.GetPayload(kSaidUrl);
  return said.has_value() ? std::string(*said) : std::string(status.message());
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_ERROR_H_
