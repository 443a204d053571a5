// SPDX-License-Identifier: Apache-2.0
//
// A coroutine that gives a T: lazily started, awaited by another one or by SyncWait, and stopped by a token.
#ifndef INFERWIRE_TASK_H_
#define INFERWIRE_TASK_H_

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/base/stop.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {

template <class T>
class Task;

namespace detail {

/// What the promises of Task<T> and Task<void> share. A task that ends before it ever waited returns to its awaiter
/// instead of resuming it: symmetric transfer would do without this, but takes stack where the compiler makes no tail
/// calls (GCC below -O2, sanitizers), and a long loop of awaits would overflow it.
class TaskPromiseBase {
 public:
  std::suspend_always initial_suspend() noexcept { return {}; }
  auto final_suspend() noexcept {
    struct End {
      bool await_ready() noexcept { return false; }
      void await_suspend(std::coroutine_handle<>) noexcept {
        // Whoever comes second, the end or the awaiter, goes on with the awaiting coroutine.
        if (promise.second_.exchange(true, std::memory_order_acq_rel)) promise.continuation_.resume();
      }
      void await_resume() noexcept {}
      TaskPromiseBase& promise;
    };
    return End{*this};
  }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  /// Runs the task until it first waits, on behalf of `caller`, whose stop token it inherits, and the thread that waits
  /// for it; whether `caller` is to be suspended for it.
  bool Run(std::coroutine_handle<> self, std::coroutine_handle<> caller, std::stop_token stop, SyncWaiter* waiter) {
    continuation_ = caller;
    stop_ = std::move(stop);
    waiter_ = waiter;
    self.resume();
    return !second_.exchange(true, std::memory_order_acq_rel);
  }
  const std::stop_token& stop_token() const noexcept { return stop_; }
  SyncWaiter* waiter() const noexcept { return waiter_; }

 protected:
  void Rethrow() const {
#ifdef __cpp_exceptions
    if (exception_) std::rethrow_exception(exception_);
#endif
  }

 private:
  std::coroutine_handle<> continuation_;
  std::stop_token stop_;
  SyncWaiter* waiter_ = nullptr;
  std::atomic<bool> second_{false};
  std::exception_ptr exception_;
};

template <class T>
class TaskPromise final : public TaskPromiseBase {
 public:
  Task<T> get_return_object();
  template <class U>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T Result() {
    Rethrow();
    return *std::move(value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class TaskPromise<void> final : public TaskPromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() noexcept {}
  void Result() const { Rethrow(); }
};

}  // namespace detail

/// A coroutine's result. Nothing runs before it is awaited; it then runs on the awaiting thread until it first waits,
/// and afterwards on the executor of what it waited for. An exception thrown in it comes out where it is awaited.
/// Move-only; to be awaited at most once, and not destroyed while it runs. Destroyed while it waits, it drops, and so
/// cancels, what it waits for.
///
/// It inherits the stop token of whoever awaits it. Once that is told to stop, the future or stream that is awaited
/// is cancelled, at once or when it comes to be awaited; the task itself goes on with what that gives: CANCELLED, or
/// the end of the stream.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited")]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  auto operator co_await() && noexcept { return Awaiter{handle_}; }

 private:
  friend promise_type;
  struct Awaiter {
    std::coroutine_handle<promise_type> handle;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> caller) {
      return handle.promise().Run(handle, caller, detail::StopTokenOf(caller), detail::WaiterOf(caller));
    }
    T await_resume() { return handle.promise().Result(); }
  };
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

template <class T>
Task<T> detail::TaskPromise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> detail::TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

/// What a task may ask about itself.
class ThisTask {
 private:
  struct Awaiter {
    std::stop_token stop;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
      stop = detail::StopTokenOf(coroutine);
      return false;
    }
    std::stop_token await_resume() noexcept { return std::move(stop); }
  };

 public:
  /// `co_await ThisTask::StopToken()` gives the std::stop_token of the awaiting coroutine: to look at between steps of
  /// long work, or to hand on.
  static Awaiter StopToken() noexcept { return {}; }
};

namespace detail {

/// Whoever starts a RootTask, and is told of its end, on whatever thread that comes.
class RootOwner {
 public:
  /// It threw; the exception is being handled. Ended follows.
  virtual void Threw() noexcept = 0;
  /// Nothing of it is touched afterwards: it may be destroyed here and now.
  virtual void Ended() noexcept = 0;

 protected:
  ~RootOwner() = default;
};

/// The coroutine that awaits the outermost task.
class RootTask {
 public:
  class promise_type {
   public:
    RootTask get_return_object() { return RootTask(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct Tell {
        RootOwner& owner;
        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<>) noexcept { owner.Ended(); }
        void await_resume() noexcept {}
      };
      return Tell{*owner_};
    }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { owner_->Threw(); }
    const std::stop_token& stop_token() const noexcept { return stop_; }
    SyncWaiter* waiter() const noexcept { return waiter_; }

   private:
    friend class RootTask;
    RootOwner* owner_ = nullptr;
    SyncWaiter* waiter_ = nullptr;
    std::stop_token stop_;
  };

  RootTask(RootTask&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  RootTask& operator=(RootTask other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~RootTask() {
    if (handle_) handle_.destroy();
  }

  /// Runs it on this thread until it first waits, which may be its end. Once. `waiter`: who waits for the end, which
  /// stays until then.
  void Start(RootOwner& owner, std::stop_token stop, SyncWaiter* waiter = nullptr) {
    handle_.promise().owner_ = &owner;
    handle_.promise().waiter_ = waiter;
    handle_.promise().stop_ = std::move(stop);
    handle_.resume();
  }

 private:
  explicit RootTask(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

/// What can be kept of a T, which may be void.
template <class T>
using Kept = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Awaits `task` and puts its result into `slot`, which must outlive it.
template <class T>
RootTask RunRoot(Task<T> task, std::optional<Kept<T>>& slot) {
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    slot.emplace();
  } else {
    slot.emplace(co_await std::move(task));
  }
}

/// Blocks a thread until a root has ended.
class BlockedThread final : public RootOwner {
 public:
  void Threw() noexcept override { exception_ = std::current_exception(); }
  void Ended() noexcept override {
    // The thread destroys everything else as soon as it knows.
    const std::shared_ptr<SyncWaiter> waiter = waiter_;
    waiter->End();
  }
  SyncWaiter* waiter() const { return waiter_.get(); }
  void Wait() {
    waiter_->Wait();
#ifdef __cpp_exceptions
    if (exception_) std::rethrow_exception(exception_);
#endif
  }

 private:
  const std::shared_ptr<SyncWaiter> waiter_ = std::make_shared<SyncWaiter>();
  std::exception_ptr exception_;
};

/// Several roots that run at once; awaited, it starts them and goes on when all have ended.
class TaskGroup final : public RootOwner {
 public:
  void Add(RootTask root) { roots_.push_back(std::move(root)); }

  bool await_ready() const noexcept { return roots_.empty(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> caller) {
    continuation_ = caller;
    left_.store(roots_.size() + 1, std::memory_order_relaxed);  // and one for this loop
    on_stop_.Arm(caller, StopAll{*this});
    for (RootTask& root : roots_) root.Start(*this, stop_.get_token(), WaiterOf(caller));
    return !Last();
  }
  void await_resume() {
    on_stop_.Disarm();
#ifdef __cpp_exceptions
    if (exception_) std::rethrow_exception(exception_);
#endif
  }

 private:
  struct StopAll {
    TaskGroup& group;
    void operator()() const {
      // The last of them may end in this, and the group with it.
      std::stop_source stop = group.stop_;
      stop.request_stop();
    }
  };

  void Threw() noexcept override {
    if (threw_.exchange(true, std::memory_order_relaxed)) return;
    exception_ = std::current_exception();
    stop_.request_stop();  // nobody will see what the others give
  }
  void Ended() noexcept override {
    if (Last()) continuation_.resume();
  }
  bool Last() noexcept { return left_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  std::vector<RootTask> roots_;
  std::coroutine_handle<> continuation_;
  std::atomic<std::size_t> left_{0};
  std::atomic<bool> threw_{false};
  std::exception_ptr exception_;
  std::stop_source stop_;
  OnStop<StopAll> on_stop_;
};

}  // namespace detail

/// Runs the task and waits for its end, on this thread until it first waits. `stop` tells it to stop. In a continuation
/// this thread does what the executor should meanwhile; where the task would wait for what needs this thread otherwise
/// (a future of Then or Start on its executor; anything, on a thread that serves gRPC), the wait gives
/// FAILED_PRECONDITION, as Future::Get does.
template <class T>
T SyncWait(Task<T> task, std::stop_token stop = {}) {
  std::optional<detail::Kept<T>> result;
  detail::BlockedThread thread;
  detail::RootTask root = detail::RunRoot(std::move(task), result);
  root.Start(thread, std::move(stop), thread.waiter());
  thread.Wait();
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

/// Runs the tasks at once: each, in turn, on the awaiting thread until it first waits. Gives their results in order,
/// when all have ended. When one throws, the others are told to stop, and the first exception comes out at the end.
template <class T>
Task<std::conditional_t<std::is_void_v<T>, void, std::vector<detail::Kept<T>>>> WhenAll(std::vector<Task<T>> tasks) {
  std::vector<std::optional<detail::Kept<T>>> results(tasks.size());
  detail::TaskGroup group;
  for (std::size_t i = 0; i < tasks.size(); ++i) group.Add(detail::RunRoot(std::move(tasks[i]), results[i]));
  co_await group;
  if constexpr (!std::is_void_v<T>) {
    std::vector<T> out;
    out.reserve(results.size());
    for (std::optional<T>& result : results) out.push_back(*std::move(result));
    co_return out;
  }
}

/// As above, for tasks of different types; std::monostate stands for void.
template <class... T>
  requires(sizeof...(T) > 0)
Task<std::tuple<detail::Kept<T>...>> WhenAll(Task<T>... tasks) {
  std::tuple<std::optional<detail::Kept<T>>...> results;
  detail::TaskGroup group;
  std::apply([&](auto&... result) { (group.Add(detail::RunRoot(std::move(tasks), result)), ...); }, results);
  co_await group;
  co_return std::apply([](auto&... result) { return std::tuple<detail::Kept<T>...>(*std::move(result)...); }, results);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TASK_H_
