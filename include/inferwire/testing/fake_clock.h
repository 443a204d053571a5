// SPDX-License-Identifier: Apache-2.0
//
// Time that passes when a test says so.
#ifndef INFERWIRE_TESTING_FAKE_CLOCK_H_
#define INFERWIRE_TESTING_FAKE_CLOCK_H_

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {
namespace testing {

/// A clock for ClientOptions::clock that stands still until it is advanced. Deadlines, attempt timeouts, backoff, hedge
/// delays, idle timeouts and budgets of the client then count its time; the server and the network go on in real time.
/// (gRPC itself also keeps each attempt's deadline, in real time: a test of a ten-second timeout that really takes ten
/// seconds sees that one.)
///
///   auto clock = std::make_shared<inferwire::testing::FakeClock>();
///   auto client = inferwire::Client::Create({.targets = …, .timeout = absl::Seconds(5), .clock = clock});
///   auto future = client->Async<&Stub::Score>(request);     // to a server that never answers
///   clock->Advance(absl::Seconds(5));
///   std::move(future).Get();                                // DEADLINE_EXCEEDED, at once
///
/// Safe from any thread. It outlives the clients that use it, since they hold it.
class FakeClock final : public Clock {
 public:
  FakeClock() = default;

  TimePoint Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }

  /// Moves the time on, and has what has come due by then done, on the threads that do it anyway: wait for its effect,
  /// not for the clock.
  void Advance(absl::Duration by) {
    Rings rung;
    std::lock_guard lock(mutex_);
    MoveTo(After(now_, by), rung);
  }
  /// Moves the time to where the next thing is due, and returns how far that was; zero, without moving, if nothing is
  /// waiting.
  absl::Duration AdvanceToNext() {
    Rings rung;
    std::lock_guard lock(mutex_);
    const TimePoint from = now_;
    if (alarms_.empty()) return absl::ZeroDuration();
    MoveTo((std::max)(now_, NextLocked()), rung);
    return Between(from, now_);
  }
  /// How long until the next thing is due; infinite if nothing is waiting.
  absl::Duration UntilNext() const {
    std::lock_guard lock(mutex_);
    return alarms_.empty() ? absl::InfiniteDuration() : Between(now_, NextLocked());
  }
  /// Waits, in real time and for ten seconds at most, until something is due within `within` of now: a retry that is
  /// being scheduled on another thread, say. False if that did not happen.
  bool WaitUntilDueWithin(absl::Duration within) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return !alarms_.empty() && Between(now_, NextLocked()) <= within; });
  }

  void SetAlarm(const void* key, TimePoint at, absl::AnyInvocable<void()> ring) override {
    Rings rung;
    std::lock_guard lock(mutex_);
    if (const auto old = alarms_.find(key); old != alarms_.end()) {
      rung.push_back(std::move(old->second.ring));
      alarms_.erase(old);
    }
    if (at == TimePoint::max()) return;
    alarms_.emplace(key, Alarm{at, std::move(ring)});
    changed_.notify_all();
    if (at <= now_) MoveTo(now_, rung);
  }

 private:
  // What has rung or was forgotten; it ends without the lock, since it may hold the last reference to a call.
  using Rings = std::vector<absl::AnyInvocable<void()>>;
  struct Alarm {
    TimePoint at;
    absl::AnyInvocable<void()> ring;
  };

  TimePoint NextLocked() const {
    TimePoint next = TimePoint::max();
    for (const auto& [key, alarm] : alarms_) next = (std::min)(next, alarm.at);
    return next;
  }
  // Rings under the lock, so that what was forgotten does not ring any more.
  void MoveTo(TimePoint to, Rings& rung) {
    now_ = to;
    for (auto it = alarms_.begin(); it != alarms_.end();) {
      if (it->second.at > now_) {
        ++it;
        continue;
      }
      it->second.ring();
      rung.push_back(std::move(it->second.ring));
      it = alarms_.erase(it);
    }
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  TimePoint now_ = TimePoint() + std::chrono::hours(1);
  std::map<const void*, Alarm> alarms_;
};

}  // namespace testing
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TESTING_FAKE_CLOCK_H_
