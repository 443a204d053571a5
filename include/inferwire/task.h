// SPDX-License-Identifier: Apache-2.0
//
// A coroutine that gives a T: lazily started, awaited by another one or by SyncWait.
#ifndef INFERWIRE_TASK_H_
#define INFERWIRE_TASK_H_

#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <exception>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

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

  /// Runs the task until it first waits, on behalf of `caller`; whether `caller` is to be suspended for it.
  bool Run(std::coroutine_handle<> self, std::coroutine_handle<> caller) {
    continuation_ = caller;
    self.resume();
    return !second_.exchange(true, std::memory_order_acq_rel);
  }

 protected:
  void Rethrow() const {
#ifdef __cpp_exceptions
    if (exception_) std::rethrow_exception(exception_);
#endif
  }

 private:
  std::coroutine_handle<> continuation_;
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
/// Move-only; to be awaited at most once, and not destroyed while it runs.
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

  auto operator co_await() && noexcept {
    struct Awaiter {
      std::coroutine_handle<promise_type> handle;
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> caller) { return handle.promise().Run(handle, caller); }
      T await_resume() { return handle.promise().Result(); }
    };
    return Awaiter{handle_};
  }

 private:
  friend promise_type;
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

namespace detail {

/// A coroutine whose end sets an event.
class SyncWaiter {
 public:
  class promise_type {
   public:
    SyncWaiter get_return_object() { return SyncWaiter(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct Signal {
        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> handle) noexcept {
          // Whoever waits destroys the frame as soon as the lock is released.
          promise_type& promise = handle.promise();
          std::lock_guard lock(promise.mutex_);
          promise.done_ = true;
          promise.ended_.notify_one();
        }
        void await_resume() noexcept {}
      };
      return Signal{};
    }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }  // the body catches

   private:
    friend class SyncWaiter;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool done_ = false;
  };

  SyncWaiter(const SyncWaiter&) = delete;
  SyncWaiter& operator=(const SyncWaiter&) = delete;
  ~SyncWaiter() { handle_.destroy(); }

  void Run() {
    handle_.resume();
    promise_type& promise = handle_.promise();
    std::unique_lock lock(promise.mutex_);
    promise.ended_.wait(lock, [&] { return promise.done_; });
  }

 private:
  explicit SyncWaiter(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

}  // namespace detail

/// Runs the task and waits for its end, on this thread until it first waits. Not to be called on an executor's only
/// thread, where what the task waits for could not arrive.
template <class T>
T SyncWait(Task<T> task) {
  std::exception_ptr exception;
  std::conditional_t<std::is_void_v<T>, std::monostate, std::optional<T>> result;
  // The lambda outlives the coroutine, which refers to it.
  const auto body = [&]() -> detail::SyncWaiter {
#ifdef __cpp_exceptions
    try {
#endif
      if constexpr (std::is_void_v<T>) {
        co_await std::move(task);
      } else {
        result.emplace(co_await std::move(task));
      }
#ifdef __cpp_exceptions
    } catch (...) {
      exception = std::current_exception();
    }
#endif
  };
  body().Run();
#ifdef __cpp_exceptions
  if (exception) std::rethrow_exception(exception);
#endif
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TASK_H_
