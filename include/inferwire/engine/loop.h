// SPDX-License-Identifier: Apache-2.0
//
// A completion queue with timers: the one place where the engine waits.
#ifndef INFERWIRE_ENGINE_LOOP_H_
#define INFERWIRE_ENGINE_LOOP_H_

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/ref.h"

namespace inferwire {
inline namespace v0 {
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
};

/// A timer of a Loop. While armed it keeps its owner alive. All of it belongs to the loop, under the loop's lock.
class Timer {
 public:
  /// `clock` is whose time it counts, where that is not the machine's; it outlives the timer.
  explicit Timer(TimerOwner& owner, Clock* clock = nullptr) : owner_(owner), clock_(clock) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  friend class Loop;
  static constexpr std::size_t kIdle = (std::numeric_limits<std::size_t>::max)();
  TimerOwner& owner_;
  Clock* const clock_;
  TimePoint at_;
  std::size_t slot_ = kIdle;  // in the loop's heap
};

/// A completion queue and a heap of timers, turned by one thread at a time: a caller that blocks turns its own, the
/// runtime's threads turn theirs. Everything but Turn may be called from any thread.
class Loop {
 public:
  Loop() = default;
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
        return timer.clock_->SetAlarm(&timer, at, [this, &timer, owner = detail::Ref<TimerOwner>(&timer.owner_)] {
          ArmHere(timer, TimePoint::min());  // now
        });
      }
      timer.clock_->SetAlarm(&timer, at, nullptr);
    }
    ArmHere(timer, at);
  }
  void Disarm(Timer& timer) { Arm(timer, TimePoint::max()); }

  /// Makes a Turn that waits, or the next one, return.
  void Wake() {
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(waking_, true)) return;
    }
    alarm_.Set(&queue_, gpr_timespec{0, 0, GPR_TIMESPAN}, nullptr);
  }

  /// Waits for one event, timer or wake-up, no later than `until`, and runs what it is for. False once the loop was
  /// shut down and everything in it has ended.
  bool Turn(TimePoint until = TimePoint::max()) {
    TimePoint sleep;
    {
      std::lock_guard lock(mutex_);
      sleep = heap_.empty() ? until : (std::min)(until, heap_.front()->at_);
      sleeps_until_ = sleep;
    }
    void* tag = nullptr;
    bool ok = false;
    const auto next = queue_.AsyncNext(&tag, &ok, ToTimespec(sleep == TimePoint::max() ? TimePoint() : Now(), sleep));
    const bool event = next == grpc::CompletionQueue::GOT_EVENT;
    {
      std::lock_guard lock(mutex_);
      sleeps_until_ = TimePoint::min();  // nobody sleeps: no need to wake
      if (event && tag == nullptr) waking_ = false;
    }
    // What has ended comes before what has expired: an answer in time counts.
    if (event && tag != nullptr) static_cast<Tag*>(tag)->Proceed(ok);
    FireExpired();
    return next != grpc::CompletionQueue::SHUTDOWN;
  }

  /// No operation may be started hereafter. Turn on until it returns false, then destroy.
  void Shutdown() { queue_.Shutdown(); }

 private:
  void ArmHere(Timer& timer, TimePoint at) {
    bool wake = false;
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
        wake = at < sleeps_until_ && !std::exchange(waking_, true);
      }
    }
    if (wake) alarm_.Set(&queue_, gpr_timespec{0, 0, GPR_TIMESPAN}, nullptr);
    if (drop) timer.owner_.Release();
  }

  void FireExpired() {
    while (true) {
      Timer* due = nullptr;
      {
        std::lock_guard lock(mutex_);
        if (heap_.empty() || heap_.front()->at_ > Now()) return;
        due = heap_.front();
        Remove(*due);
      }
      // The timer's reference on its owner is ours now.
      TimerOwner& owner = due->owner_;
      owner.OnTimer(*due);
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

  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;  // with a null tag: only wakes
  std::mutex mutex_;
  std::vector<Timer*> heap_;
  TimePoint sleeps_until_ = TimePoint::min();
  bool waking_ = false;  // the alarm is set and has not come out yet
};

/// Turns a loop that was given up until everything in it has ended, and destroys it. A peer that stopped reading can
/// hold an operation for long after its call was answered, so this is not waited for.
inline void Retire(std::unique_ptr<Loop> loop) {
  loop->Shutdown();
  // Usually nothing is left, and it ends here.
  for (const TimePoint patience = Now() + std::chrono::milliseconds(10); Now() < patience;) {
    if (!loop->Turn(patience)) return;
  }
  std::thread([loop = std::move(loop)] {
    while (loop->Turn()) {
    }
  }).detach();
}

/// The loop of a thread that blocks in calls: made at its first one, retired when it exits.
inline Loop& ThreadLoop() {
  struct Holder {
    std::unique_ptr<Loop> loop = std::make_unique<Loop>();
    ~Holder() { Retire(std::move(loop)); }
  };
  thread_local Holder holder;
  return *holder.loop;
}

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_LOOP_H_
