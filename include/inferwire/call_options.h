// SPDX-License-Identifier: Apache-2.0
//
// What one call may ask for beyond its client's options.
#ifndef INFERWIRE_CALL_OPTIONS_H_
#define INFERWIRE_CALL_OPTIONS_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/time/time.h>

#include <concepts>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "inferwire/bearer_token.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/options/connection_options.h"
#include "inferwire/options/hedge_policy.h"
#include "inferwire/options/retry_policy.h"
#include "inferwire/status.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace inferwire {
inline namespace v0 {

/// The key of calls that belong together: a text. (No std::string, which refers to itself: g++ 12 moves the braces of
/// an awaited call bit by bit.)
class AffinityKey {
 public:
  AffinityKey() = default;
  template <class Text>
    requires std::convertible_to<const Text&, std::string_view>
  AffinityKey(const Text& key)  // NOLINT: meant to be implicit
      : key_(std::string_view(key).empty() ? nullptr : std::make_shared<const std::string>(std::string_view(key))) {}

  bool empty() const { return key_ == nullptr; }
  std::string_view text() const ABSL_ATTRIBUTE_LIFETIME_BOUND {
    return key_ != nullptr ? std::string_view(*key_) : std::string_view();
  }
  friend bool operator==(const AffinityKey& a, const AffinityKey& b) { return a.text() == b.text(); }

 private:
  std::shared_ptr<const std::string> key_;
};

/// What is unset is as the client's options say.
struct CallOptions {
  /// Total time for all attempts and the waits between them, for streams from the first byte to the status. A call that
  /// has none left, 0 or less, ends with DEADLINE_EXCEEDED at once; the limits below must be positive.
  std::optional<Duration> timeout = std::nullopt;
  /// Cancels the call when a stop is requested.
  std::stop_token stop = {};
  /// Sent with every attempt; a key stands in for the client's entries of that key. Keys in lower case; values of keys
  /// that end in "-bin" may be bytes.
  Metadata metadata = {};
  /// In place of the client's token, or of its `authorization`.
  std::optional<BearerToken> token = std::nullopt;
  /// In place of the client's.
  std::optional<Compression> compression = std::nullopt;
  /// False: never tried again once it may have reached a server.
  std::optional<bool> idempotent = std::nullopt;
  /// Filled when the call ends, for successes too. Must live until then; not written to once the future or stream is
  /// gone.
  CallInfo* info = nullptr;
  /// One attempt; its expiry is tried again if the call is idempotent.
  std::optional<Duration> attempt_timeout = std::nullopt;
  /// Streams: the longest wait for the next message, for room to write, or for the end, without a sign of the server.
  std::optional<Duration> idle_timeout = std::nullopt;
  /// Streams: the longest wait for the first message, from the start of the call, over all attempts.
  std::optional<Duration> first_message_timeout = std::nullopt;
  /// In place of the client's; the client's budget still holds.
  std::optional<RetryPolicy> retry = std::nullopt;
  /// In place of the client's. A client that does not hedge can be asked to hedge one call, within `max_ratio` of the
  /// client's calls if the client has a policy, else within 0.05 of them.
  std::optional<HedgePolicy> hedge = std::nullopt;
  /// The context of the server's handler that makes this call: the call ends no later than the handler's own deadline,
  /// and is cancelled with it (a wait before a retry is not cut by that, but ends without another attempt). Must live
  /// until the call has ended.
  const grpc::ServerContextBase* parent = nullptr;
  /// Calls of one key go to one target, as long as it can serve and is not given more than a quarter beyond its share
  /// of the calls in flight; then to the key's next one, always the same. For prefix caches, sessions, sequences.
  /// Empty: each call goes where it is answered best. Without effect where TargetOrder ranks the targets.
  AffinityKey affinity = {};
};

namespace detail {

/// INVALID_ARGUMENT naming the limit that leaves no time. `timeout` may: such a call ends with DEADLINE_EXCEEDED.
INFERWIRE_DECL absl::Status ValidateLimits(const CallOptions& options);

/// Whether a call sends headers of its own, which it cannot on a stream that others opened.
INFERWIRE_DECL bool HasOwnHeaders(const CallOptions& options);

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/call_options.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_CALL_OPTIONS_H_
