// SPDX-License-Identifier: Apache-2.0
//
// Where the user's continuations and coroutines run: never on the threads that serve gRPC.
#ifndef INFERWIRE_EXECUTOR_H_
#define INFERWIRE_EXECUTOR_H_

#include <absl/functional/any_invocable.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/process.h"

namespace inferwire {
inline namespace v0 {

/// Runs work at some later time, or at once. Implement it to have continuations run in your own event loop; `Run` is
/// called from any thread and must not lose work: a future waits for it.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Run(absl::AnyInvocable<void()> work) = 0;
};

namespace detail {

/// What this thread is busy with, as far as it must not wait for itself.
struct ThreadRole {
  const Executor* executor = nullptr;  ///< whose work it runs
  bool serves_grpc = false;            ///< all futures and streams wait for it
};
inline ThreadRole& CurrentThread() {
  thread_local ThreadRole role;
  return role;
}

/// Has `executor` run `work` on a thread that knows it.
template <class Work>
void RunOn(Executor& executor, Work work) {
  executor.Run([on = &executor, work = std::move(work)]() mutable {
    const Executor* const before = std::exchange(CurrentThread().executor, on);
    work();
    CurrentThread().executor = before;
  });
}

}  // namespace detail

/// Runs work where it is handed over. Continuations then run on a thread that serves gRPC, and must never block.
class InlineExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> work) override { work(); }
};

/// A fixed number of threads and one queue. The destructor runs what is queued, then joins. In a forked child, which
/// has none of the threads, work runs where it is handed over.
class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(std::size_t threads) : queue_(std::make_shared<Queue>()) {
    for (std::size_t i = 0; i < (std::max<std::size_t>)(threads, 1); ++i) {
      threads_.emplace_back([queue = queue_] { queue->Serve(); });
    }
  }
  ~ThreadPool() override {
    if (origin_.foreign()) {
      new std::vector<std::thread>(std::move(threads_));  // they cannot be joined
      return;
    }
    queue_->Close();
    for (std::thread& thread : threads_) {
      // Work may hold the last reference to its pool; its thread then ends by itself.
      if (thread.get_id() == std::this_thread::get_id()) {
        thread.detach();
      } else {
        thread.join();
      }
    }
  }

  void Run(absl::AnyInvocable<void()> work) override {
    if (origin_.foreign()) return work();
    queue_->Push(std::move(work));
  }

  /// The pool of all clients that were given none: two threads, or as many as there are processors. It starts with the
  /// first continuation and ends with the last client.
  static std::shared_ptr<Executor> Shared() {
    struct Slot {
      std::mutex mutex;
      std::weak_ptr<Executor> pool;
    };
    Slot& slot = detail::OfThisProcess<Slot>();
    std::lock_guard lock(slot.mutex);
    std::shared_ptr<Executor> pool = slot.pool.lock();
    if (pool == nullptr)
      slot.pool = pool = std::make_shared<ThreadPool>((std::max)(2U, std::thread::hardware_concurrency()));
    return pool;
  }

 private:
  class Queue {
   public:
    void Push(absl::AnyInvocable<void()> work) {
      {
        std::lock_guard lock(mutex_);
        work_.push_back(std::move(work));
      }
      ready_.notify_one();
    }
    void Close() {
      {
        std::lock_guard lock(mutex_);
        closed_ = true;
      }
      ready_.notify_all();
    }
    void Serve() {
      std::unique_lock lock(mutex_);
      while (true) {
        ready_.wait(lock, [this] { return closed_ || !work_.empty(); });
        if (work_.empty()) return;
        absl::AnyInvocable<void()> work = std::move(work_.front());
        work_.pop_front();
        lock.unlock();
        work();
        work = nullptr;  // what it holds ends outside the lock
        lock.lock();
      }
    }

   private:
    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<absl::AnyInvocable<void()>> work_;
    bool closed_ = false;
  };

  const detail::OfOneProcess origin_;
  std::shared_ptr<Queue> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_EXECUTOR_H_
