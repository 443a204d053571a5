// SPDX-License-Identifier: Apache-2.0
//
// A conversation with a server: writes and reads that run independently on one call.
#ifndef INFERWIRE_SESSION_H_
#define INFERWIRE_SESSION_H_

#include <absl/status/status.h>

#include <optional>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/request_stream.h"
#include "inferwire/response_stream.h"

namespace inferwire {
inline namespace v0 {

/// One bidirectional call. One thread (or coroutine) may write while another reads. Move-only, while nobody uses it;
/// dropping it cancels the call.
template <class Request, class Response>
class [[nodiscard("dropping a session cancels its call")]] Session : private MessageRange<Response> {
 public:
  Session(detail::Ref<detail::engine::StreamHandle> call, detail::Decoder<Response> decode)
      : MessageRange<Response>(std::move(call), decode) {}
  Session(Session&&) noexcept = default;
  Session& operator=(Session&& other) noexcept {
    if (this != &other) {
      this->DropCall(kDropped);
      MessageRange<Response>::operator=(std::move(other));
    }
    return *this;
  }
  ~Session() { this->DropCall(kDropped); }

  /// Queues one request; blocks while the write window is full. What was written may die at once. Once the server ended
  /// the call, its status (FAILED_PRECONDITION where that was OK).
  absl::Status Write(const Request& request) { return detail::WriteMessage(this->call(), request); }
  /// The same for coroutines: `co_await session.AsyncWrite(request)` gives an absl::Status.
  auto AsyncWrite(const Request& request) { return detail::AsyncWriteMessage(this->call(), request); }
  /// Half-closes once what was written is sent: the server sees the end of the requests. Reads go on.
  absl::Status WritesDone() {
    return this->call() ? this->call()->WritesDone() : detail::FailedPreconditionError("the session was moved away");
  }

  /// Waits for the next response; none at the end.
  using MessageRange<Response>::Read;
  /// The next response as an awaitable: `co_await session.Next()` gives a std::optional<Response>.
  using MessageRange<Response>::Next;
  /// What the responses have been like, and what the server sent around them.
  using MessageRange<Response>::stats;
  using MessageRange<Response>::initial_metadata;
  using MessageRange<Response>::trailing_metadata;
  /// The responses as a range. Leaving a loop over it keeps the session; another loop goes on.
  MessageRange<Response>& responses() { return *this; }

  /// Half-closes, discards what was not read, waits for the server's end, and gives its status.
  absl::Status Finish() {
    return this->call() ? this->call()->Drain() : detail::FailedPreconditionError("the session was moved away");
  }
  /// OK while the call runs; the final status once it ended.
  [[nodiscard]] absl::Status status() const { return this->CallStatus(); }
  /// Ends the call with CANCELLED unless it has ended.
  void Cancel() { this->CancelCall("cancelled by the caller"); }

 private:
  static constexpr const char* kDropped = "the session was dropped";
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_SESSION_H_
