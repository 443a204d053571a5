// SPDX-License-Identifier: Apache-2.0
//
// A completion queue with timers: the one place where the engine waits.
#ifndef INFERWIRE_DETAIL_ENGINE_LOOP_H_
#define INFERWIRE_DETAIL_ENGINE_LOOP_H_

#include <absl/status/status.h>
#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/thread.h"
#include "inferwire/detail/channel/keeper.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// What a loop itself waits by.
inline TimePoint Now() { return std::chrono::steady_clock::now(); }

/// `to` as gRPC takes it: as a span from now, so that no change of the wall clock moves it. Never negative.
inline gpr_timespec ToTimespec(TimePoint now, TimePoint to) {
  if (to == TimePoint::max()) return gpr_timespec{INT64_MAX, 0, GPR_CLOCK_MONOTONIC};
  const std::int64_t left = to <= now ? 0 : std::chrono::duration_cast<std::chrono::nanoseconds>(to - now).count();
  return gpr_timespec{left / 1'000'000'000, static_cast<std::int32_t>(left % 1'000'000'000), GPR_TIMESPAN};
}

/// What a completion queue carries: an operation that ended. `Proceed` runs on the thread that turns the loop.
class Tag {
 public:
  virtual void Proceed(bool ok) = 0;

 protected:
  ~Tag() = default;
};

class Timer;

/// Who is told that a timer fired, on the thread that turns the loop.
class TimerOwner : public virtual detail::RefCounted {
 public:
  virtual void OnTimer(Timer& timer) = 0;
  /// The user's clock has not taken an alarm of its. From within Loop::Arm.
  virtual void OnClockFault(const absl::Status& /*fault*/) {}
};

/// A timer of a Loop. While armed it keeps its owner alive. All of it belongs to the loop, under the loop's lock.
class Timer {
 public:
  /// `clock` is whose time it counts, where that is not the machine's; it outlives the timer.
  explicit Timer(TimerOwner& owner, Clock* clock = nullptr) : owner_(owner), clock_(clock) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// In OnTimer, of the machine's time: all that had arrived by then has been handled. What came due since is not
  /// to be taken for expired yet.
  TimePoint as_of() const { return as_of_.load(std::memory_order_relaxed); }

 private:
  friend class Loop;
  static constexpr std::size_t kIdle = (std::numeric_limits<std::size_t>::max)();
  TimerOwner& owner_;
  Clock* const clock_;
  TimePoint at_;
  std::atomic<TimePoint> as_of_{TimePoint()};
  std::size_t slot_ = kIdle;  // in the loop's heap
};

/// A completion queue and a heap of timers, turned by one thread as a rule: a caller that blocks turns its own, the
/// runtime's threads turn theirs. Everything may be called from any thread, RunOne from several at a time.
class Loop {
 public:
  using Span = std::chrono::nanoseconds;

  Loop() : Loop(std::make_shared<detail::Visits>()) {}
  explicit Loop(std::shared_ptr<detail::Visits> visits) : visits_(std::move(visits)) {
    detail::Keeper::Instance().Watch(visits_);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  grpc::CompletionQueue* queue() { return &queue_; }

  /// Sets or moves the timer; TimePoint::max() disarms it. It may fire early where it was moved while it fired.
  void Arm(Timer& timer, TimePoint at) {
    if (timer.clock_ != nullptr) {
      if (at != TimePoint::max()) {
        // What the caller has written so far is to be seen by the thread that turns the loop, here as below.
        {
          std::lock_guard lock(mutex_);
        }
        const absl::Status set = detail::InvokeUser("Clock::SetAlarm", [&] {
          timer.clock_->SetAlarm(&timer, at, [this, &timer, owner = detail::Ref<TimerOwner>(&timer.owner_)] {
            ArmHere(timer, TimePoint::min());  // now
          });
        });
        if (set.ok()) return;
        timer.owner_.OnClockFault(set);
        at = Now() + kWithoutClock;
      } else {
        detail::InvokeUser("Clock::SetAlarm", [&] {
          timer.clock_->SetAlarm(&timer, at, nullptr);
        }).IgnoreError();  // what fires all the same finds nothing to do
      }
    }
    ArmHere(timer, at);
  }
  void Disarm(Timer& timer) { Arm(timer, TimePoint::max()); }

  /// Makes a RunOne that waits, or the next one, return.
  void Wake() {
    std::lock_guard lock(mutex_);
    WakeLocked();
  }

  /// What the caller has written so far is seen by whoever takes off the queue what is started next.
  void Show() { std::lock_guard lock(mutex_); }

  /// Counts an operation whose end is waited for: for those who ask whether any is left.
  void Began() { outstanding_.fetch_add(1, std::memory_order_relaxed); }
  void Ended() { outstanding_.fetch_sub(1, std::memory_order_relaxed); }
  bool outstanding() const { return outstanding_.load(std::memory_order_relaxed) > 0; }

  /// Waits for one event, timer or wake-up, no later than `until`, and runs what it is for. False once the loop was
  /// shut down and everything in it has ended.
  bool RunOne(TimePoint until = TimePoint::max()) { return Step(until) != grpc::CompletionQueue::SHUTDOWN; }
  /// The same, and says what it found: an event, nothing, or the end.
  grpc::CompletionQueue::NextStatus Step(TimePoint until) { return Step(until, *visits_); }
  /// The same for one who turns it beside whoever does so as a rule.
  grpc::CompletionQueue::NextStatus Step(TimePoint until, detail::Visits& visits) {
    TimePoint sleep;
    {
      std::lock_guard lock(mutex_);
      sleep = heap_.empty() ? until : (std::min)(until, heap_.front()->at_);
      sleeps_until_ = sleepers_++ == 0 ? sleep : (std::max)(sleeps_until_, sleep);
    }
    const auto next = HandleNext(sleep == TimePoint::max() ? TimePoint() : Now(), sleep, visits, /*slept=*/true);
    FireExpired(visits);
    return next;
  }

  /// Turns it beside whoever does so as a rule, while `needed`, which is asked each time that `look` has passed.
  template <class Needed>
  void Assist(detail::Visits& visits, Span look, Needed needed) {
    while (needed() && Step(Now() + look, visits) != grpc::CompletionQueue::SHUTDOWN) {
    }
    // What was to wake whoever sleeps there, since a timer is due sooner than it was known, may have come out here.
    Wake();
  }

  /// No operation may be started hereafter. Run on until RunOne returns false, then destroy.
  void Shutdown() {
    {
      std::lock_guard lock(mutex_);
      shut_down_ = waking_ = true;  // nobody wakes it any more
    }
    queue_.Shutdown();
  }

 private:
  // What a sweep takes at most in ordinary times, so that deadlines are kept within 10 ms whatever the load.
  static constexpr std::chrono::milliseconds kSweep{3};
  // How late a timer may fire before the loop counts as held up: gRPC counts in milliseconds, and rounds up.
  static constexpr std::chrono::milliseconds kOrdinaryDelay{5};
  static constexpr std::chrono::milliseconds kLeastGrace{3}, kMostGrace{50};

  // With the lock: who turns the loop to its end must not meet one who is about to wake it.
  void WakeLocked() {
    if (!std::exchange(waking_, true)) alarm_.Set(&queue_, gpr_timespec{0, 0, GPR_TIMESPAN}, nullptr);
  }
  // When a timer looks again whose clock has not taken its alarm.
  static constexpr std::chrono::milliseconds kWithoutClock{100};

  void ArmHere(Timer& timer, TimePoint at) {
    bool drop = false;
    {
      std::lock_guard lock(mutex_);
      if (at == TimePoint::max()) {
        drop = Remove(timer);
      } else {
        if (timer.slot_ == Timer::kIdle) {
          timer.owner_.AddRef();
          timer.slot_ = heap_.size();
          heap_.push_back(&timer);
        }
        timer.at_ = at;
        SiftDown(SiftUp(timer.slot_));
        // Whoever turns the loop sleeps beyond this timer: have it look again.
        if (at < sleeps_until_) WakeLocked();
      }
    }
    if (drop) timer.owner_.Release();
  }

  grpc::CompletionQueue::NextStatus HandleNext(TimePoint now, TimePoint until, detail::Visits& visits, bool slept) {
    void* tag = nullptr;
    bool ok = false;
    visits.Enter();
    const auto next = queue_.AsyncNext(&tag, &ok, ToTimespec(now, until));
    visits.Leave();
    const bool event = next == grpc::CompletionQueue::GOT_EVENT;
    if (slept || event) {
      // For an event in any case: the lock shows what the operation's starter wrote, see Call::StartAttempt.
      std::lock_guard lock(mutex_);
      if (slept && --sleepers_ == 0) sleeps_until_ = TimePoint::min();  // nobody sleeps: no need to wake
      if (event && tag == nullptr) waking_ = shut_down_;
    }
    if (event && tag != nullptr) static_cast<Tag*>(tag)->Proceed(ok);
    return next;
  }

  // What has arrived counts before what has expired, so no timer fires before all that was there when it came due has
  // been handled: one event at a time comes out of the queue, and one socket at a time is read for it. This is bounded,
  // or a flood of events would keep deadlines from being kept. Where the loop itself was held up, by a handler or since
  // the process was not scheduled, more than usual waits to be read, perhaps by another thread that is about to hand it
  // to us: then for about as long as it was held up, and not before nothing comes for a while.
  void FireExpired(detail::Visits& visits) {
    TimePoint due = NextDue();
    if (due == TimePoint::max()) return;
    TimePoint now = Now();
    if (due == TimePoint::min()) {  // set to fire at once, hence not late
      Fire(TimePoint::min(), Sweep(now, now + kSweep, /*grace=*/{}, visits));
      due = NextDue();
      now = Now();
    }
    TimePoint as_of = now;
    if (due <= now) {
      // One that was set too late is not the loop's fault.
      const Span late = (std::min)(now - due, now - looked_.load(std::memory_order_relaxed));
      const Span grace = late > kOrdinaryDelay ? std::clamp<Span>(late / 10, kLeastGrace, kMostGrace) : Span();
      as_of = Sweep(now, now + (std::max<Span>)(late, kSweep), grace, visits);
      Fire(as_of, as_of);
    }
    looked_.store(as_of, std::memory_order_relaxed);
  }
  TimePoint NextDue() {
    std::lock_guard lock(mutex_);
    return heap_.empty() ? TimePoint::max() : heap_.front()->at_;
  }
  // Handles what comes, until nothing does for the time of `grace` or it is `enough`; gives the time before which all
  // has been handled.
  TimePoint Sweep(TimePoint now, TimePoint enough, Span grace, detail::Visits& visits) {
    while (true) {
      if (HandleNext(now, now + grace, visits, /*slept=*/false) != grpc::CompletionQueue::GOT_EVENT) return now;
      const TimePoint next = Now();
      if (next >= enough) return now;
      now = next;
    }
  }
  void Fire(TimePoint until, TimePoint as_of) {
    while (true) {
      Timer* timer = nullptr;
      {
        std::lock_guard lock(mutex_);
        if (heap_.empty() || heap_.front()->at_ > until) return;
        timer = heap_.front();
        Remove(*timer);
      }
      timer->as_of_.store(as_of, std::memory_order_relaxed);
      // The timer's reference on its owner is ours now.
      TimerOwner& owner = timer->owner_;
      owner.OnTimer(*timer);
      owner.Release();
    }
  }

  bool Remove(Timer& timer) {
    if (timer.slot_ == Timer::kIdle) return false;
    const std::size_t slot = std::exchange(timer.slot_, Timer::kIdle);
    Timer* const last = heap_.back();
    heap_.pop_back();
    if (last != &timer) {
      Place(slot, last);
      SiftDown(SiftUp(slot));
    }
    return true;
  }
  void Place(std::size_t slot, Timer* timer) {
    heap_[slot] = timer;
    timer->slot_ = slot;
  }
  std::size_t SiftUp(std::size_t slot) {
    Timer* const timer = heap_[slot];
    while (slot > 0 && timer->at_ < heap_[(slot - 1) / 2]->at_) {
      Place(slot, heap_[(slot - 1) / 2]);
      slot = (slot - 1) / 2;
    }
    Place(slot, timer);
    return slot;
  }
  void SiftDown(std::size_t slot) {
    Timer* const timer = heap_[slot];
    for (std::size_t child = 2 * slot + 1; child < heap_.size(); child = 2 * slot + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->at_ < heap_[child]->at_) ++child;
      if (!(heap_[child]->at_ < timer->at_)) break;
      Place(slot, heap_[child]);
      slot = child;
    }
    Place(slot, timer);
  }

  const std::shared_ptr<detail::Visits> visits_;  // of whoever turns it as a rule
  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;  // with a null tag: only wakes
  std::mutex mutex_;
  std::vector<Timer*> heap_;
  int sleepers_ = 0;                           // threads that wait in RunOne
  TimePoint sleeps_until_ = TimePoint::min();  // the last of them, at the latest
  bool waking_ = false;                        // the alarm is set and has not come out yet
  bool shut_down_ = false;
  std::atomic<TimePoint> looked_{TimePoint()};  // when it was last known what is due
  std::atomic<int> outstanding_{0};
};

/// Turns loops that were given up until everything in them has ended, and destroys them. A peer that stopped reading
/// can hold an operation for long after its call was answered, so nobody waits for this: it is done on one thread for
/// all of them, which is there while there are any.
class Reaper {
 public:
  void Take(std::unique_ptr<Loop> loop) {
    std::lock_guard lock(mutex_);
    loops_.push_back(std::move(loop));
    come_.notify_one();
    // Where no thread is to be had, the next one that comes tries again.
    if (!serving_) serving_ = detail::StartThread([this] { Serve(); });
  }

 private:
  // How long one loop is waited on while the others are not looked at: longer when nothing happens.
  static constexpr std::chrono::milliseconds kShortest{1}, kLongest{100};

  void Serve() {
    detail::CurrentThread().serves_grpc = true;
    std::vector<std::unique_ptr<Loop>> loops;
    std::chrono::milliseconds wait = kShortest;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        // More come soon, or not at all.
        if (loops.empty() && !come_.wait_for(lock, kLongest, [this] { return !loops_.empty(); })) {
          serving_ = false;
          return;
        }
        if (!loops_.empty()) wait = kShortest;
        std::move(loops_.begin(), loops_.end(), std::back_inserter(loops));
        loops_.clear();
      }
      bool something = false;
      TimePoint until = Now() + wait;  // who waits on the first reads the sockets of all
      for (std::unique_ptr<Loop>& loop : loops) {
        auto next = grpc::CompletionQueue::GOT_EVENT;
        while ((next = loop->Step(until)) == grpc::CompletionQueue::GOT_EVENT) something = true;
        if (next == grpc::CompletionQueue::SHUTDOWN) loop.reset();
        until = TimePoint::min();
      }
      std::erase(loops, nullptr);
      wait = something ? kShortest : (std::min)(2 * wait, kLongest);
    }
  }

  std::mutex mutex_;
  std::condition_variable come_;
  std::vector<std::unique_ptr<Loop>> loops_;
  bool serving_ = false;
};

/// No operation may be started in it hereafter; those that are in it end elsewhere.
inline void Retire(std::unique_ptr<Loop> loop) {
  loop->Shutdown();
  auto next = grpc::CompletionQueue::GOT_EVENT;
  while (next == grpc::CompletionQueue::GOT_EVENT) next = loop->Step(TimePoint::min());
  if (next == grpc::CompletionQueue::TIMEOUT) detail::OfThisProcess<Reaper>().Take(std::move(loop));
}

/// A loop for as long as a thread blocks in a call. It is the process's and not the thread's, so that it is there also
/// while thread-local and static objects are destroyed; and another one where a call is made from within a call.
class CallerLoop {
 public:
  CallerLoop() {
    Idle& idle = detail::OfThisProcess<Idle>();
    std::unique_lock lock(idle.mutex);
    if (!idle.loops.empty()) {
      loop_ = std::move(idle.loops.back());  // the one whose memory is warm
      idle.loops.pop_back();
      return;
    }
    lock.unlock();
    loop_ = std::make_unique<Loop>();
  }
  CallerLoop(const CallerLoop&) = delete;
  CallerLoop& operator=(const CallerLoop&) = delete;
  ~CallerLoop() {
    // What was given up has ended as a rule, and only needs to be taken off the queue.
    while (loop_->outstanding() && loop_->Step(TimePoint::min()) == grpc::CompletionQueue::GOT_EVENT) {
    }
    if (!loop_->outstanding()) {
      Idle& idle = detail::OfThisProcess<Idle>();
      std::lock_guard lock(idle.mutex);
      if (idle.loops.size() < kMostIdle) idle.loops.push_back(std::move(loop_));
    }
    if (loop_ != nullptr) Retire(std::move(loop_));
  }

  Loop& operator*() const { return *loop_; }

 private:
  static constexpr std::size_t kMostIdle = 64;
  struct Idle {
    std::mutex mutex;
    std::vector<std::unique_ptr<Loop>> loops;
  };
  std::unique_ptr<Loop> loop_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_LOOP_H_
