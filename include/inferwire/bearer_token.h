// SPDX-License-Identifier: Apache-2.0
//
// Who is calling, as a token that expires: fetched by a function of the user's, kept, and fetched anew in time.
#ifndef INFERWIRE_BEARER_TOKEN_H_
#define INFERWIRE_BEARER_TOKEN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <functional>
#include <memory>
#include <string>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"

namespace inferwire {
inline namespace v0 {

class Executor;
namespace detail {

class Secret;

/// A call that waits for a token.
class TokenWaiter : public virtual RefCounted {
 public:
  /// There is one, or why there is none.
  virtual void OnToken(absl::Status status) = 0;
};

}  // namespace detail

/// What a token service gives.
struct AccessToken {
  std::string value;
  absl::Time expires = absl::InfiniteFuture();
};

/// Sends `authorization: Bearer TOKEN` with every attempt (RFC 6750). A value whose copies share one token. Only over
/// TLS: with plaintext credentials the client, or the call, is refused with INVALID_ARGUMENT, unless the token says
/// EvenOverPlaintext. A token never appears in a status, nor in what an observer sees. Safe from any thread.
class BearerToken {
 public:
  using Fetch = std::function<absl::StatusOr<AccessToken>()>;

  /// One that does not change.
  explicit BearerToken(std::string value);
  /// Fetched with the first call, and again in good time before it expires: a minute, or a fifth of its life. Calls
  /// wait for a token only where there is none that is valid; where none can be had they end with UNAUTHENTICATED and
  /// what `fetch` said, or threw. `fetch` runs on the client's executor, where it may block, and never twice at a time:
  /// on any thread of it, which may be one that waits for a call to which there is no token. A server's UNAUTHENTICATED
  /// has the next call fetch anew: three times at once, and then once in ten seconds.
  explicit BearerToken(Fetch fetch);

  /// Sends it unencrypted too, where anyone on the way can read and use it: for loopback, or a mesh that encrypts.
  BearerToken EvenOverPlaintext() const {
    BearerToken out = *this;
    out.plaintext_ = true;
    return out;
  }
  bool allows_plaintext() const { return plaintext_; }

  /// Whether there is a valid value, for Latest to give; else `waiter`, which is kept, is told once there is one, or
  /// none can be had. That may be before this returns, if `executor` does what it is given at once.
  bool Ready(Executor& executor, detail::TokenWaiter& waiter) const;
  /// The waiter does not wait any more.
  void Forget(detail::TokenWaiter& waiter) const;
  /// Fetches here what the executor has not begun to fetch.
  void Help() const;
  /// The latest value of the header, valid or not; none before the first. Held once, by all calls that send it.
  std::shared_ptr<const detail::Secret> Latest() const;
  /// A server did not take this value. One that takes none is believed a few times, and then now and then: calls to
  /// others would wait for a new token each time, and whoever gives them be asked without end.
  void Reject(const std::shared_ptr<const detail::Secret>& header) const;

 private:
  struct State;

  std::shared_ptr<State> state_;
  bool plaintext_ = false;
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/bearer_token.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_BEARER_TOKEN_H_
