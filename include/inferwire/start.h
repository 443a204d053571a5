// SPDX-License-Identifier: Apache-2.0
//
// Start: a task that runs without being awaited, and the future of its result.
#ifndef INFERWIRE_START_H_
#define INFERWIRE_START_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A running task that is the state of its own future. While it runs it keeps itself.
template <class T>
class TaskState final : public FutureState<typename Flatten<T>::Type>, public RootOwner {
 public:
  using U = typename Flatten<T>::Type;

  TaskState(Task<T> task, std::shared_ptr<Executor> executor)
      : executor_(std::move(executor)), root_(RunRoot(std::move(task), result_)) {}

  void Start() {
    RunOn(*executor_, [self = Ref<TaskState>(this)](absl::Status taken) {
      self->self_ = self;
      if (!taken.ok()) {
        self->error_ = std::move(taken);
        return self->Ended();
      }
      if (self->stop_.stop_requested()) {
        self->error_ = detail::CancelledError("the task was cancelled before it began");
        return self->Ended();
      }
      self->root_->Start(*self, self->stop_.get_token());
    });
  }

  void CancelSource() override { stop_.request_stop(); }
  Executor& executor() override { return *executor_; }
  bool NeedsExecutor() override { return true; }

 private:
  void Threw() noexcept override { error_ = Thrown("a task"); }
  void Ended() noexcept override {
    const Ref<TaskState> self = std::exchange(self_, {});
    root_.reset();  // what the task held ends before its result is seen
    this->Set(error_.ok() ? Result() : std::move(error_));
  }
  absl::StatusOr<U> Result() {
    if constexpr (std::is_same_v<T, absl::Status>) {
      return result_->ok() ? absl::StatusOr<U>(U()) : *std::move(result_);
    } else {
      return *std::move(result_);
    }
  }

  const std::shared_ptr<Executor> executor_;
  std::stop_source stop_;
  Ref<TaskState> self_;
  std::optional<Kept<T>> result_;
  absl::Status error_;  // that it threw, or never began
  std::optional<RootTask> root_;
};

}  // namespace detail

/// Starts the task on `executor` and gives the future of its result, flattened as that of a continuation: a StatusOr's
/// value, std::monostate for void and Status. An exception becomes INTERNAL with its text.
///
/// Cancelling or dropping the future tells the task to stop; one that has not begun then never does. It ends by itself
/// thereafter, and the future is not ready before everything that the task held is gone: where it refers to what lives
/// elsewhere, Cancel and then Get.
template <class T>
Future<typename detail::Flatten<T>::Type> Start(Task<T> task,
                                                std::shared_ptr<Executor> executor = ThreadPool::Shared()) {
  static_assert(!detail::kIsFuture<T>, "inferwire: a task that gives a future cannot be started; co_await the future");
  using U = typename detail::Flatten<T>::Type;
  if (executor == nullptr) return MakeReadyFuture<U>(detail::InvalidArgumentError("Start: the executor is null"));
  auto state = detail::MakeRef<detail::TaskState<T>>(std::move(task), std::move(executor));
  state->Start();
  return Future<U>(std::move(state));
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_START_H_
