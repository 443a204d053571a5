// SPDX-License-Identifier: Apache-2.0
//
// Boost.Asio, or Asio alone: its event loops as executors, and futures, tasks and streams awaited with its tokens.
#ifndef INFERWIRE_ASIO_H_
#define INFERWIRE_ASIO_H_

// Boost.Asio unless INFERWIRE_STANDALONE_ASIO is defined. What is declared below belongs to the one or the other, so
// that a program may use both.
#ifdef INFERWIRE_STANDALONE_ASIO
#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#if __has_include(<asio/associated_cancellation_slot.hpp>)
#include <asio/associated_cancellation_slot.hpp>
#define INFERWIRE_ASIO_CANCELS
#endif
#define INFERWIRE_ASIO standalone_asio
#else
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#if __has_include(<boost/asio/associated_cancellation_slot.hpp>)
#include <boost/asio/associated_cancellation_slot.hpp>
#define INFERWIRE_ASIO_CANCELS
#endif
#define INFERWIRE_ASIO boost_asio
#endif

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"
#include "inferwire/response_stream.h"
#include "inferwire/start.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
inline namespace INFERWIRE_ASIO {

#ifdef INFERWIRE_STANDALONE_ASIO
namespace net = ::asio;
#else
namespace net = ::boost::asio;
#endif

/// Runs continuations and coroutines in an Asio event loop, for ClientOptions::executor. It does not keep the loop
/// busy: hold a work guard as long as calls are out, and the loop as long as the client.
class AsioExecutor final : public Executor {
 public:
  explicit AsioExecutor(net::any_io_executor executor) : executor_(std::move(executor)) {}
  void Run(absl::AnyInvocable<void()> work) override {
    // The work may run, and end the loop, before post has returned.
    const auto busy = net::make_work_guard(executor_);
    net::post(executor_, std::move(work));
  }

 private:
  const net::any_io_executor executor_;
};

namespace asio_internal {

/// A future whose result goes to an Asio handler, by way of `convert`.
template <class T, class Convert, class Handler>
class Operation : public std::enable_shared_from_this<Operation<T, Convert, Handler>> {
 public:
  Operation(detail::Ref<detail::FutureState<T>> state, Convert convert, Handler handler)
      : state_(std::move(state)),
        convert_(std::move(convert)),
        handler_(std::move(handler)),
        work_(net::get_associated_executor(handler_)) {}

  void Begin() {
#ifdef INFERWIRE_ASIO_CANCELS
    auto slot = net::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([state = state_](net::cancellation_type_t type) {
        if (type != net::cancellation_type_t::none) state->CancelSource();
      });
    }
#endif
    const auto finish = [self = this->shared_from_this()] { self->Finish(); };
    if (!state_->OnReady(finish, /*in_place=*/true)) finish();
  }

 private:
  // On a thread that serves gRPC, or on the one that began: never the place for the handler itself.
  void Finish() {
    // The handler may run, and end the loop, before post has returned.
    const auto busy = std::move(work_);
    auto handle = [self = this->shared_from_this()] {
#ifdef INFERWIRE_ASIO_CANCELS
      auto slot = net::get_associated_cancellation_slot(self->handler_);
      if (slot.is_connected()) slot.clear();
#endif
      Handler handler = std::move(self->handler_);
      std::move(handler)(self->convert_(self->state_->Take()));
    };
    // A handler whose executor takes no work is destroyed, as Asio's are when their loop ends.
    detail::InvokeUser("the handler's executor", [&] {
      net::post(busy.get_executor(), std::move(handle));
    }).IgnoreError();
  }

  const detail::Ref<detail::FutureState<T>> state_;
  Convert convert_;
  Handler handler_;
  net::executor_work_guard<net::associated_executor_t<Handler>> work_;
};

template <class T, class Convert, class Handler>
void BeginOperation(Future<T> future, Convert convert, Handler handler) {
  detail::Ref<detail::FutureState<T>> state = FutureAccess::Release(std::move(future));
  if (!state) {
    state = detail::MakeRef<detail::ReadyState<T>>(
        detail::FailedPreconditionError("the future is empty: its result was taken or moved away"));
  }
  std::make_shared<Operation<T, Convert, Handler>>(std::move(state), std::move(convert), std::move(handler))->Begin();
}

/// The task runs where it is begun until it first waits, as it does where a coroutine awaits it.
template <class T>
auto StartHere(Task<T> task) {
  return Start(std::move(task), std::shared_ptr<Executor>(std::shared_ptr<void>(), &detail::AnyThread()));
}

template <class T>
Task<std::optional<T>> NextOf(MessageRange<T>* messages) {
  co_return co_await messages->Next();
}
template <class Stream, class Request>
Task<absl::Status> WriteTo(Stream* stream, Request request) {
  co_return co_await stream->AsyncWrite(request);
}

}  // namespace asio_internal

/// Waits for the future in Asio's way: `co_await AsyncWait(std::move(future), boost::asio::use_awaitable)`, or any
/// other completion token of the signature void(absl::StatusOr<T>). The handler runs on its associated executor. Where
/// Asio knows cancellation of operations (Boost 1.77, Asio 1.19), it cancels the call, whose result is then CANCELLED.
template <class T, class CompletionToken>
auto AsyncWait(Future<T> future, CompletionToken&& token) {
  return net::async_initiate<CompletionToken, void(absl::StatusOr<T>)>(
      [](auto handler, Future<T> taken) {
        asio_internal::BeginOperation(std::move(taken), std::identity(), std::move(handler));
      },
      token, std::move(future));
}

/// Runs the task and waits for it; the result is that of Start. Cancellation tells the task to stop.
template <class T, class CompletionToken>
auto AsyncWait(Task<T> task, CompletionToken&& token) {
  using U = typename detail::Flatten<T>::Type;
  return net::async_initiate<CompletionToken, void(absl::StatusOr<U>)>(
      [](auto handler, Task<T> taken) {
        asio_internal::BeginOperation(asio_internal::StartHere(std::move(taken)), std::identity(), std::move(handler));
      },
      token, std::move(task));
}

/// The next message of a ResponseStream, or of a session's responses(), which must outlive the wait: a
/// std::optional<T>, none at the end. Cancellation cancels the stream's call.
template <class T, class CompletionToken>
auto AsyncNext(MessageRange<T>& messages, CompletionToken&& token) {
  return net::async_initiate<CompletionToken, void(std::optional<T>)>(
      [](auto handler, MessageRange<T>* from) {
        asio_internal::BeginOperation(
            asio_internal::StartHere(asio_internal::NextOf(from)),
            [](absl::StatusOr<std::optional<T>> next) { return next.ok() ? *std::move(next) : std::nullopt; },
            std::move(handler));
      },
      token, &messages);
}

/// Writes to a RequestStream or Session, which must outlive the wait: an absl::Status. Cancellation cancels its call.
template <class Stream, class Request, class CompletionToken>
auto AsyncWrite(Stream& stream, Request request, CompletionToken&& token) {
  return net::async_initiate<CompletionToken, void(absl::Status)>(
      [](auto handler, Stream* to, Request taken) {
        asio_internal::BeginOperation(
            asio_internal::StartHere(asio_internal::WriteTo(to, std::move(taken))),
            [](const absl::StatusOr<std::monostate>& written) { return written.status(); }, std::move(handler));
      },
      token, &stream, std::move(request));
}

}  // namespace INFERWIRE_ASIO
}  // namespace v0
}  // namespace inferwire

#undef INFERWIRE_ASIO
#undef INFERWIRE_ASIO_CANCELS

#endif  // INFERWIRE_ASIO_H_
