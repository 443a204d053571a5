// SPDX-License-Identifier: Apache-2.0
//
// The threads of a pool, and work that is done once, whoever does it.
#ifndef INFERWIRE_DETAIL_IMPL_EXECUTOR_H_
#define INFERWIRE_DETAIL_IMPL_EXECUTOR_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/thread.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {

class ThreadPool::Queue {
 public:
  void Push(absl::AnyInvocable<void()> work) {
    // Under the lock: once it is open, the work may run, and end the pool.
    std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
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
      detail::InvokeUser("work", work).IgnoreError();
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

INFERWIRE_DECL ThreadPool::ThreadPool(std::size_t threads) : queue_(std::make_shared<Queue>()) {
  for (std::size_t i = 0; i < (std::max<std::size_t>)(threads, 1); ++i) {
    std::thread thread = detail::NewThread([queue = queue_] { queue->Serve(); });
    if (thread.joinable()) threads_.push_back(std::move(thread));
  }
}

INFERWIRE_DECL ThreadPool::~ThreadPool() {
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

INFERWIRE_DECL void ThreadPool::Run(absl::AnyInvocable<void()> work) {
  if (origin_.foreign() || threads_.empty()) return work();
  queue_->Push(std::move(work));
}

INFERWIRE_DECL std::shared_ptr<Executor> ThreadPool::Shared() {
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

namespace detail {

INFERWIRE_DECL ThreadRole& CurrentThread() {
  thread_local ThreadRole role;
  return role;
}

INFERWIRE_DECL absl::Status MayBlock(std::string_view function, const ThreadRole& thread) {
  if (!thread.serves_grpc) return absl::OkStatus();
  return detail::FailedPreconditionError(Cat(
      function,
      " would wait for its own thread, which serves gRPC: co_await instead, use Then, or give the client an executor "
      "whose work may block"));
}

INFERWIRE_DECL bool Job::Claim() {
  if (claimed_.exchange(true, std::memory_order_acq_rel)) return false;
  Do(absl::OkStatus());
  return true;
}

INFERWIRE_DECL void Job::RunByExecutor() {
  if (ThreadRole& thread = CurrentThread(); thread.depth >= kDeepest) {
    thread.deferred->push_back([self = Ref<Job>(this)] { self->Claim(); });
  } else {
    Claim();
  }
}

INFERWIRE_DECL void Job::Lose() {
  lost_ = true;
  if (!handing_) Refuse(Lost());
}

INFERWIRE_DECL void Job::Handed(const absl::Status& taken) {
  handing_ = false;
  if (!taken.ok()) {
    Refuse(taken);
  } else if (lost_) {
    Refuse(Lost());
  }
}

INFERWIRE_DECL void Job::Refuse(const absl::Status& why) {
  if (claimed_.exchange(true, std::memory_order_acq_rel)) return;
  const absl::Status handed = InvokeUser("ThreadPool::Run", [&] {
    std::shared_ptr<Executor> pool = ThreadPool::Shared();
    Executor& executor = *pool;
    executor.Run([self = Ref<Job>(this), why, pool = std::move(pool)] { self->Do(why); });
  });
  if (!handed.ok()) Do(why);
}

INFERWIRE_DECL void Job::Do(absl::Status taken) {
  const Ref<Job> self(this);
  ThreadRole& thread = CurrentThread();
  const ThreadRole::Work here{&executor_, thread.work};
  ThreadRole::Deferred deferred;
  const bool outermost = thread.deferred == nullptr;
  if (outermost) thread.deferred = &deferred;
  thread.work = &here;
  ++thread.depth;
  // What is the user's is guarded where its end can be told; a coroutine of another library may throw all the same.
  InvokeUser("work", [&] { std::exchange(work_, nullptr)(std::move(taken)); }).IgnoreError();
  --thread.depth;
  thread.work = here.outer;
  if (!outermost) return;
  while (!deferred.empty()) {
    absl::AnyInvocable<void()> next = std::move(deferred.front());
    deferred.pop_front();
    next();
  }
  thread.deferred = nullptr;
}

INFERWIRE_DECL absl::Status Job::Lost() { return InternalError("the executor lost work that it was given"); }

INFERWIRE_DECL void Hand(Executor& executor, const Ref<Job>& job) {
  // What the executor has: gone without having been called, it was lost.
  struct Ticket {
    Ref<Job> job;
    explicit Ticket(Ref<Job> given) : job(std::move(given)) {}
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (job) job->Lose();
    }
    void operator()() {
      if (const Ref<Job> given = std::exchange(job, {})) given->RunByExecutor();
    }
  };
  job->Handed(InvokeUser("Executor::Run", [&] { executor.Run(Ticket(job)); }));
}

INFERWIRE_DECL void SyncWaiter::Wait() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ended_ || !work_.empty(); });
    if (ended_) return;
    absl::AnyInvocable<void()> work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    work = nullptr;  // what it holds ends without the lock
    lock.lock();
  }
}

struct UserCodeWait::Waits {
  static Waits& All() { return OfThisProcess<Waits>(); }

  std::mutex mutex;
  std::map<std::thread::id, std::thread::id> on;
};

INFERWIRE_DECL UserCodeWait::UserCodeWait(std::thread::id thread) {
  Waits& waits = Waits::All();
  std::lock_guard lock(waits.mutex);
  const std::thread::id me = std::this_thread::get_id();
  for (auto at = thread; may_ && at != std::thread::id();) {
    may_ = at != me;
    const auto next = waits.on.find(at);
    at = next != waits.on.end() ? next->second : std::thread::id();
  }
  if (may_) waits.on.emplace(me, thread);
}

INFERWIRE_DECL UserCodeWait::~UserCodeWait() {
  if (!may_) return;
  Waits& waits = Waits::All();
  std::lock_guard lock(waits.mutex);
  waits.on.erase(std::this_thread::get_id());
}

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_EXECUTOR_H_
