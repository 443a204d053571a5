// SPDX-License-Identifier: Apache-2.0
//
// What a call tells beyond its status: the attempts made, where they went, and why the client gave up.
#ifndef INFERWIRE_STATUS_H_
#define INFERWIRE_STATUS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/printable.h"
#include "inferwire/error_details.h"
#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {

/// Header or trailer fields, in order. Keys are lower case; values of keys that end in "-bin" are arbitrary bytes.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// The story of one call. Filled for every call that has `CallOptions::info`, and carried by every failed call's
/// status.
struct CallInfo {
  /// Why the call ended as it did.
  enum class Reason {
    kNone,               ///< it succeeded, or it is not known
    kPermanent,          ///< the status is one that another attempt would not change
    kAttemptsExhausted,  ///< RetryPolicy::max_attempts were made
    kBudgetExhausted,    ///< another attempt might have helped, but the client's RetryBudget had none left
    kDeadline,           ///< the total deadline passed, or left no room for another attempt
    kCancelled,          ///< the caller cancelled, dropped the call, or shut the client down
    kNotIdempotent,      ///< another attempt might have helped, but the call may have run already
    kPushback,           ///< the server asked not to be tried again
  };

  struct Attempt {
    std::string target;                                  ///< as given in ClientOptions::targets
    std::string peer;                                    ///< the address, as gRPC spells it: "ipv4:127.0.0.1:50051"
    absl::StatusCode code = absl::StatusCode::kUnknown;  ///< how the attempt ended
    std::string message;                                 ///< as it came; see Printable
    absl::Duration latency;                              ///< from the attempt's start to its end
    bool hedge = false;                                  ///< started beside a slow one, not after a failed one
    /// How long the server asked to be left alone; negative: it asked not to be tried again.
    std::optional<absl::Duration> pushback = std::nullopt;
  };

  Reason reason = Reason::kNone;
  /// What the server said, or gRPC, or the client itself, byte for byte; empty after a success. The status says the
  /// same, made printable, with what the client adds.
  std::string message;
  /// In the order they were started: the first thousand, with the messages of the first 32.
  std::vector<Attempt> attempts;
  std::vector<ErrorDetail> details;   ///< google.rpc.*, of the last attempt; unknown and malformed ones are left out
  Metadata initial_metadata;          ///< the server's, of the last attempt
  Metadata trailing_metadata;         ///< the server's, of the last attempt
  absl::Duration latency;             ///< of the whole call, waits between attempts included
  std::optional<StreamStats> stream;  ///< of calls whose answers are streamed: what came, and when
};

/// The reason in one or two words, as it stands in status messages.
INFERWIRE_DECL std::string_view ReasonName(CallInfo::Reason reason);

/// Text that came from elsewhere (messages of a CallInfo, details, metadata, output of a model), as one line that is
/// safe to show: control characters, line breaks and bytes that are no UTF-8 as \n, \t, \x1b, what turns or hides text
/// as
/// \u{202e}. What is printable comes back unchanged. Texts of statuses are so already.
inline std::string Printable(std::string_view text) { return detail::Printable(text); }

namespace detail {

inline constexpr std::string_view kCallInfoUrl = "call";

/// `words` stand behind the text of the status where it is printed: "UNAVAILABLE: refused [call='words']".
/// Without them those that stand there already remain.
INFERWIRE_DECL void AttachCallInfo(absl::Status& status, const CallInfo& info, std::string words = {});

}  // namespace detail

/// The story of the call that gave `status`; empty where `status` is OK or comes from elsewhere. Copies of the status
/// carry it too, as long as they stay in this process; what it forks has the text alone.
INFERWIRE_DECL CallInfo InfoOf(const absl::Status& status);
template <class T>
CallInfo InfoOf(const absl::StatusOr<T>& result) {
  return InfoOf(result.status());
}

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/status.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_STATUS_H_
