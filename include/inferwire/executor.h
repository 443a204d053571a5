// SPDX-License-Identifier: Apache-2.0
//
// Where the user's continuations and coroutines run: never on the threads that serve gRPC.
#ifndef INFERWIRE_EXECUTOR_H_
#define INFERWIRE_EXECUTOR_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <atomic>
#include <concepts>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"

namespace inferwire {
inline namespace v0 {

/// Runs work at some later time, or at once. Implement it to have continuations run in your own event loop; `Run` is
/// called from any thread.
///
/// Work that is not taken (`Run` throws) or is lost (destroyed without having been called: an event loop that ended) is
/// not run: what waits for it ends with INTERNAL, which says so, and a continuation is not called. A coroutine that
/// waits, and whatever else must be told, is told on the pool that ThreadPool::Shared gives. What the work does never
/// throws. Work that is kept, neither called nor destroyed, is waited for.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Run(absl::AnyInvocable<void()> work) = 0;
};

/// Runs work where it is handed over. Continuations then run on a thread that serves gRPC, and must never block.
class InlineExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> work) override { work(); }
};

/// A fixed number of threads and one queue. The destructor runs what is queued, then joins. An exception that leaves
/// work ends there. Where the system gives fewer threads there are fewer. Without any, and in a forked child, which has
/// none of them, work runs where it is handed over.
class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool() override;

  void Run(absl::AnyInvocable<void()> work) override;

  /// The pool of all clients that were given none: two threads, or as many as there are processors. It starts with the
  /// first continuation and ends with the last client.
  static std::shared_ptr<Executor> Shared();

 private:
  class Queue;

  const detail::OfOneProcess origin_;
  std::shared_ptr<Queue> queue_;
  std::vector<std::thread> threads_;
};

namespace detail {

/// What this thread is busy with, as far as it must not wait for itself. Trivial, so that it outlives what is destroyed
/// when the thread ends.
struct ThreadRole {
  /// An executor's work that the thread is in the midst of.
  struct Work {
    const Executor* executor;
    const Work* outer;
  };
  /// Work that waits for the stack to unwind.
  using Deferred = std::deque<absl::AnyInvocable<void()>>;

  const Work* work = nullptr;  ///< the innermost
  bool serves_grpc = false;    ///< all futures and streams wait for it
  int depth = 0;               ///< of work in work
  Deferred* deferred = nullptr;

  bool Runs(const Executor& executor) const {
    for (const Work* one = work; one != nullptr; one = one->outer) {
      if (one->executor == &executor) return true;
    }
    return false;
  }
};
/// One for each thread, whatever shares it: a program, and a library whose symbols it does not see.
INFERWIRE_DECL ThreadRole& CurrentThread();

/// FAILED_PRECONDITION where `function` would wait on this thread for what gRPC brings, and this thread is one that
/// brings it.
INFERWIRE_DECL absl::Status MayBlock(std::string_view function, const ThreadRole& thread = CurrentThread());

/// Work that an executor was given. It is done once, by the executor or by who claims it before that: one who waits for
/// it on a thread that the executor may be waiting for.
class Job final : public RefCounted {
 public:
  /// OK, or why the executor does not do it; it then runs elsewhere.
  using Work = absl::AnyInvocable<void(absl::Status taken)>;

  Job(const Executor& executor, Work work) : executor_(executor), work_(std::move(work)) {}

  /// Does it here unless that was begun; whether it did.
  bool Claim();
  /// As the executor does. An executor that runs its work where it is handed over would go ever deeper where work hands
  /// over work: beyond some depth it waits for the stack to unwind.
  void RunByExecutor();
  /// What the executor had of it is gone. While it is being handed over that may be since the executor throws, which
  /// tells more.
  void Lose();
  /// The executor has it, or has thrown.
  void Handed(const absl::Status& taken);
  /// The executor does not do it. Who says so may hold locks, hence another thread.
  void Refuse(const absl::Status& why);

 private:
  static constexpr int kDeepest = 32;

  static absl::Status Lost();
  void Do(absl::Status taken);

  const Executor& executor_;  // only compared
  Work work_;
  std::atomic<bool> claimed_{false};
  std::atomic<bool> handing_{true};
  std::atomic<bool> lost_{false};
};

/// Has `executor` do the job.
INFERWIRE_DECL void Hand(Executor& executor, const Ref<Job>& job);
/// Has `executor` do `work`, a function of absl::Status: OK, or why the executor has not taken it.
template <class Work>
void RunOn(Executor& executor, Work work) {
  Hand(executor, MakeRef<Job>(executor, std::move(work)));
}

/// A thread that waits for the end of a coroutine. What is to go on meanwhile on an executor whose thread this is goes
/// on here: the executor may have no other.
class SyncWaiter final : public Executor, public std::enable_shared_from_this<SyncWaiter> {
 public:
  /// Of this thread, which is in the midst of the same work until Wait has returned.
  SyncWaiter() : thread_(CurrentThread()) {}

  const ThreadRole& thread() const { return thread_; }
  /// Itself, where it does what `executor` should.
  std::shared_ptr<Executor> InPlaceOf(const Executor& executor) {
    return thread_.Runs(executor) ? shared_from_this() : nullptr;
  }
  void Run(absl::AnyInvocable<void()> work) override {
    std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    changed_.notify_one();
  }
  void End() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_one();
  }
  void Wait();

 private:
  const ThreadRole thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<absl::AnyInvocable<void()>> work_;
  bool ended_ = false;
};

/// The thread that waits for a coroutine, where its promise knows of one.
template <class Promise>
SyncWaiter* WaiterOf(std::coroutine_handle<Promise> coroutine) {
  if constexpr (requires {
                  { coroutine.promise().waiter() } -> std::convertible_to<SyncWaiter*>;
                }) {
    return coroutine.promise().waiter();
  } else {
    return nullptr;
  }
}

/// Who waits until user code that runs on another thread has returned. Two who would wait for each other do not.
class UserCodeWait {
 public:
  /// For what runs on `thread`: false, and nothing is to be waited for, where that waits for us.
  explicit UserCodeWait(std::thread::id thread);
  UserCodeWait(const UserCodeWait&) = delete;
  UserCodeWait& operator=(const UserCodeWait&) = delete;
  ~UserCodeWait();
  bool may() const { return may_; }

 private:
  struct Waits;
  bool may_ = true;
};

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/executor.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_EXECUTOR_H_
