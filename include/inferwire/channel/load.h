// SPDX-License-Identifier: Apache-2.0
//
// How busy and how quick a target is: what picking one of two goes by.
#ifndef INFERWIRE_CHANNEL_LOAD_H_
#define INFERWIRE_CHANNEL_LOAD_H_

#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {
namespace channel {

/// Peak EWMA (Twitter's Finagle): the expected wait is the latency of late, times the calls that would share it. A
/// slower answer counts at once and in full, quicker ones by and by. A target that failed is avoided for a moment that
/// doubles with each further failure, so that one which fails fast does not look quick. Safe from any thread, without
/// locks; of two samples that meet, one may be lost.
class Load {
 public:
  /// `timed`: whether its end will tell how quick the target is; a stream's does not.
  void Begin(bool timed) {
    in_flight_.fetch_add(1, std::memory_order_relaxed);
    if (!timed) streams_.fetch_add(1, std::memory_order_relaxed);
  }
  void End(bool timed) {
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    if (!timed) streams_.fetch_sub(1, std::memory_order_relaxed);
  }
  int in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

  /// It answered, whatever it said. True where it had failed for some while before.
  bool Answered() {
    if (failures_.load(std::memory_order_relaxed) == 0) return false;
    avoid_until_.store(TimePoint::min(), std::memory_order_relaxed);
    return failures_.exchange(0, std::memory_order_relaxed) >= kLong;
  }
  /// An attempt took that long.
  void Observe(absl::Duration latency, TimePoint now) {
    const double sample = absl::ToDoubleNanoseconds(latency);
    const double old = Faded(now);
    const double since = std::chrono::duration<double>(now - observed_.load(std::memory_order_relaxed)).count();
    const double weight = std::exp(-(std::max)(since, 0.0) / kMemorySeconds);
    nanoseconds_.store(sample > old ? sample : old * weight + sample * (1 - weight), std::memory_order_relaxed);
    observed_.store(now, std::memory_order_relaxed);
  }
  /// An attempt had taken that long when it was given up.
  void ObserveAtLeast(absl::Duration latency, TimePoint now) {
    if (absl::ToDoubleNanoseconds(latency) > Faded(now)) Observe(latency, now);
  }
  void Failed(TimePoint now) {
    const int count = failures_.fetch_add(1, std::memory_order_relaxed) + 1;
    avoid_until_.store(now + Wait(count), std::memory_order_relaxed);
  }
  /// Whether it failed, and its moment is over: then one attempt is to find out how it is. True for one caller, who
  /// makes it; all others go on to avoid it.
  bool ClaimProbe(TimePoint now) {
    const int count = failures_.load(std::memory_order_relaxed);
    if (count == 0) return false;
    TimePoint until = avoid_until_.load(std::memory_order_relaxed);
    return now >= until && avoid_until_.compare_exchange_strong(until, now + Wait(count), std::memory_order_relaxed);
  }

  /// What one more attempt would wait, in nanoseconds, as far as it is known.
  double Cost(TimePoint now) const {
    const double waiting = in_flight();
    const double latency = Faded(now);
    // Nothing is known: the first one is welcome, the next ones better wait for what it says. Of two of whom nothing is
    // known, since they carry streams alone, the one with fewer of them is cheaper.
    const bool asked = waiting > streams_.load(std::memory_order_relaxed);
    const double cost = latency > 0 ? latency * (waiting + 1) : asked ? kUnknown * (waiting + 1) : waiting;
    return Avoided(now) ? cost + kAvoided : cost;
  }
  /// Whether it failed just now.
  bool Avoided(TimePoint now) const { return now < avoid_until_.load(std::memory_order_relaxed); }

 private:
  static constexpr double kMemorySeconds = 10;
  static constexpr double kUnknown = 1e9;
  static constexpr double kAvoided = 1e12;
  static constexpr int kLong = 4;  // failures, and as many waits
  static constexpr std::chrono::milliseconds kShortest{50};
  static constexpr std::chrono::milliseconds kLongest{500};

  static std::chrono::nanoseconds Wait(int failures) {
    return (std::min)(kLongest, kShortest * (1 << (std::min)(failures - 1, 10)));
  }
  // What was slow a while ago may be quick again: it has to be tried to be known.
  double Faded(TimePoint now) const {
    const double latency = nanoseconds_.load(std::memory_order_relaxed);
    if (latency == 0) return 0;
    const double since = std::chrono::duration<double>(now - observed_.load(std::memory_order_relaxed)).count();
    return latency * std::exp(-(std::max)(since, 0.0) / kMemorySeconds);
  }

  std::atomic<int> in_flight_{0};
  std::atomic<int> streams_{0};   // of those
  std::atomic<int> failures_{0};  // since it last answered
  std::atomic<double> nanoseconds_{0};
  std::atomic<TimePoint> observed_{TimePoint()};
  std::atomic<TimePoint> avoid_until_{TimePoint::min()};
};

}  // namespace channel
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CHANNEL_LOAD_H_
