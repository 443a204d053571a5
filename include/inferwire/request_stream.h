// SPDX-License-Identifier: Apache-2.0
//
// The messages a client streams to the server, which answers once.
#ifndef INFERWIRE_REQUEST_STREAM_H_
#define INFERWIRE_REQUEST_STREAM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <coroutine>
#include <optional>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/stop.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/executor.h"
#include "inferwire/response_stream.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// One write as an awaitable giving its absl::Status. Suspends only while the write window is full.
class WriteAwaiter {
 public:
  WriteAwaiter(Ref<detail::engine::StreamHandle> call, absl::StatusOr<detail::wire::Payload> payload)
      : call_(std::move(call)), payload_(std::move(payload)) {}
  WriteAwaiter(const WriteAwaiter&) = delete;
  WriteAwaiter& operator=(const WriteAwaiter&) = delete;
  ~WriteAwaiter() {
    if (suspended_) call_->ForgetWriter();
  }
  bool await_ready() const { return !call_ || !payload_.ok(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    on_stop_.Arm(handle, CancelStream{call_.get()});
    state_ = call_->TryWrite(*payload_);
    if (state_ != State::kWait) return false;
    suspended_ = true;  // before: afterwards the coroutine may run elsewhere already
    return call_->OnWritable([handle] { handle.resume(); }, detail::WaiterOf(handle));
  }
  absl::Status await_resume() {
    on_stop_.Disarm();
    if (!payload_.ok()) return payload_.status();
    if (!call_) return detail::FailedPreconditionError("the stream was moved away");
    if (std::exchange(suspended_, false)) state_ = call_->TryWrite(*payload_);
    return state_ == State::kTaken ? absl::OkStatus() : call_->WriteError();
  }

 private:
  using State = detail::engine::StreamHandle::WriteState;
  Ref<detail::engine::StreamHandle> call_;
  absl::StatusOr<detail::wire::Payload> payload_;
  State state_ = State::kEnded;
  bool suspended_ = false;
  OnStop<CancelStream> on_stop_;
};

/// The writing half, for RequestStream and Session alike.
template <class Request>
absl::StatusOr<detail::wire::Payload> EncodeFor(const Ref<detail::engine::StreamHandle>& call, const Request& request) {
  if (call && call->OfForeignClient()) return ForkedError();  // no message is looked at in a forked child
  return detail::wire::Encode(request);
}
template <class Request>
absl::Status WriteMessage(const Ref<detail::engine::StreamHandle>& call, const Request& request) {
  if (!call) return detail::FailedPreconditionError("the stream was moved away");
  absl::StatusOr<detail::wire::Payload> payload = EncodeFor(call, request);
  if (!payload.ok()) return payload.status();
  return call->Write(*std::move(payload));
}
template <class Request>
WriteAwaiter AsyncWriteMessage(const Ref<detail::engine::StreamHandle>& call, const Request& request) {
  return WriteAwaiter(call, EncodeFor(call, request));
}

}  // namespace detail

/// One client-streaming call: any number of requests, then one response. Move-only; one thread at a time. Dropping it
/// before Finish cancels the call.
template <class Request, class Response>
class [[nodiscard("dropping a stream cancels its call")]] RequestStream {
 public:
  explicit RequestStream(detail::Ref<detail::engine::StreamHandle> call) : call_(std::move(call)) {}
  RequestStream(RequestStream&&) noexcept = default;
  RequestStream& operator=(RequestStream&& other) noexcept {
    if (this != &other) {
      Drop();
      call_ = std::move(other.call_);
    }
    return *this;
  }
  ~RequestStream() { Drop(); }

  /// Queues one request; blocks while the write window is full. What was written may die at once. Once the server ended
  /// the call, its status (FAILED_PRECONDITION where that was OK: Finish has the response).
  absl::Status Write(const Request& request) { return detail::WriteMessage(call_, request); }
  /// The same for coroutines: `co_await stream.AsyncWrite(request)` gives an absl::Status.
  auto AsyncWrite(const Request& request) { return detail::AsyncWriteMessage(call_, request); }

  /// Half-closes, waits for the end, and gives the server's response or its status. Once.
  absl::StatusOr<Response> Finish() {
    if (!call_) return detail::FailedPreconditionError("the stream was finished or moved away");
    const detail::Ref<detail::engine::StreamHandle> call = std::exchange(call_, {});
    call->WritesDone().IgnoreError();  // the end tells more
    detail::wire::Reply reply;
    const bool received = call->Read(&reply);
    if (detail::wire::Reply second; received && call->Read(&second)) {
      call->Fail(detail::InternalError("the server sent more than one response to a client-streaming call"));
    }
    if (absl::Status status = call->status(); !status.ok()) return status;
    absl::StatusOr<Response> response{Response()};
    if (absl::Status status = detail::wire::DecodeInto(std::move(reply), *response); !status.ok()) return status;
    return response;
  }

  /// OK while the call runs; the final status once it ended.
  [[nodiscard]] absl::Status status() const {
    return call_ ? call_->status() : detail::FailedPreconditionError("the stream was finished or moved away");
  }
  /// Ends the call with CANCELLED unless it has ended.
  void Cancel() {
    if (call_) call_->Cancel(detail::CancelledError("cancelled by the caller"));
  }

 private:
  void Drop() {
    if (call_) call_->Cancel(detail::CancelledError("the stream was dropped"));
  }

  detail::Ref<detail::engine::StreamHandle> call_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_REQUEST_STREAM_H_
