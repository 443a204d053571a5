// SPDX-License-Identifier: Apache-2.0
//
// A future as a sender (P2300, std::execution), for programs that have stdexec; without it this header is empty.
#ifndef INFERWIRE_SENDER_H_
#define INFERWIRE_SENDER_H_

#if __has_include(<stdexec/execution.hpp>)

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <optional>
#include <stdexec/execution.hpp>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/future.h"

namespace inferwire {
inline namespace v0 {

/// What AsSender gives.
template <class T>
class FutureSender {
 public:
  using sender_concept = stdexec::sender_t;
  using completion_signatures =
      stdexec::completion_signatures<stdexec::set_value_t(absl::StatusOr<T>), stdexec::set_stopped_t()>;

  explicit FutureSender(Future<T> future) : future_(std::move(future)) {}

  template <class Receiver>
  class Operation {
   public:
    using operation_state_concept = stdexec::operation_state_t;

    Operation(Future<T> future, Receiver receiver) : future_(std::move(future)), receiver_(std::move(receiver)) {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    void start() & noexcept {
      state_ = FutureAccess::Release(std::move(future_));
      if (!state_) {
        return stdexec::set_value(std::move(receiver_),
                                  absl::StatusOr<T>(detail::FailedPreconditionError("the future is empty")));
      }
      stop_.emplace(stdexec::get_stop_token(stdexec::get_env(receiver_)), OnStop{state_.get()});
      // Once it is registered, the end may come on another thread, and this be gone.
      const detail::Ref<detail::FutureState<T>> state = state_;
      if (!state->OnReady([this] { Complete(); }, /*in_place=*/false)) Complete();
    }

   private:
    struct OnStop {
      detail::FutureState<T>* state;
      void operator()() const noexcept { state->CancelSource(); }
    };
    using Token = stdexec::stop_token_of_t<stdexec::env_of_t<Receiver>>;

    void Complete() {
      const bool stopped = stdexec::get_stop_token(stdexec::get_env(receiver_)).stop_requested();
      stop_.reset();  // waits for one that runs
      absl::StatusOr<T> result = state_->Take();
      if (stopped && result.status().code() == absl::StatusCode::kCancelled) {
        stdexec::set_stopped(std::move(receiver_));
      } else {
        stdexec::set_value(std::move(receiver_), std::move(result));
      }
    }

    Future<T> future_;  // until the start
    detail::Ref<detail::FutureState<T>> state_;
    Receiver receiver_;
    std::optional<stdexec::stop_callback_for_t<Token, OnStop>> stop_;
  };

  template <class Receiver>
  Operation<Receiver> connect(Receiver receiver) && {
    return Operation<Receiver>(std::move(future_), std::move(receiver));
  }

 private:
  Future<T> future_;
};

/// The future as a sender of one absl::StatusOr<T>: errors are values. It completes on the client's executor. A stop
/// that the receiver asks for cancels the call, which then ends with set_stopped, unless it has ended; dropping a
/// sender that was not started cancels as dropping the future does.
template <class T>
FutureSender<T> AsSender(Future<T> future) {
  return FutureSender<T>(std::move(future));
}

}  // namespace v0
}  // namespace inferwire

#endif  // stdexec

#endif  // INFERWIRE_SENDER_H_
