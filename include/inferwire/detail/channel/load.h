// SPDX-License-Identifier: Apache-2.0
//
// How busy and how quick a target is: what picking one of two goes by.
#ifndef INFERWIRE_DETAIL_CHANNEL_LOAD_H_
#define INFERWIRE_DETAIL_CHANNEL_LOAD_H_

#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace channel {

/// The expected wait is the latency of late times the calls that would share it. Costs that differ by less than is
/// worth telling, or than the latencies themselves vary, are equal, and targets of equal cost take turns: otherwise the
/// one that is quicker by a hair would get everything, in every process. The latency and its mean deviation are
/// followed as TCP follows a round trip's (Jacobson, 1988); one answer that is far off says little, several say much.
/// What is dear is tried again after some comparisons that it lost, or some seconds. A target that failed is avoided
/// for a moment that doubles with each further failure, so that one which fails fast does not look quick. Safe from any
/// thread, without locks; of two samples that meet, one may be lost.
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

  /// Counts the failures and recoveries. A failure of an attempt that began in an earlier epoch tells of the time
  /// before.
  std::uint32_t epoch() const { return epoch_.load(std::memory_order_relaxed); }
  /// It answered, whatever it said. True where it had failed for some while before.
  bool Answered() {
    if (failures_.load(std::memory_order_relaxed) == 0) return false;
    avoid_until_.store(TimePoint::min(), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_relaxed);
    return failures_.exchange(0, std::memory_order_relaxed) >= kLong;
  }
  void Failed(TimePoint now) {
    const int count = failures_.fetch_add(1, std::memory_order_relaxed) + 1;
    epoch_.fetch_add(1, std::memory_order_relaxed);
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
  /// Whether it failed just now.
  bool Avoided(TimePoint now) const { return now < avoid_until_.load(std::memory_order_relaxed); }

  /// An attempt took that long.
  void Observe(absl::Duration latency, TimePoint now) {
    double sample = absl::ToDoubleNanoseconds(latency);
    const int known = samples_.load(std::memory_order_relaxed);
    double mean = mean_.load(std::memory_order_relaxed);
    double deviation = deviation_.load(std::memory_order_relaxed);
    if (known == 0) {
      mean = sample;
    } else if (known == 1) {  // the two of them, for now
      deviation = std::abs(sample - mean);
      mean = (std::min)(sample, mean);
    } else if (known == 2) {  // the one in the middle
      const double most = mean + deviation;
      deviation = ((std::max)(most, sample) - (std::min)(mean, sample)) / 2;
      mean = (std::min)((std::max)(sample, mean), most);
      deviation = (std::min)(deviation, mean);
    } else {
      sample = (std::min)(sample, mean * kFarOff);
      const double gain = (std::max)(Gain(known + 1), 1 - StillTrue(now));
      deviation += gain * (std::abs(sample - mean) - deviation);
      mean += gain * (sample - mean);
    }
    mean_.store(mean, std::memory_order_relaxed);
    deviation_.store(deviation, std::memory_order_relaxed);
    samples_.store((std::min)(known + 1, kMany), std::memory_order_relaxed);
    losses_.store(0, std::memory_order_relaxed);
    observed_.store(now, std::memory_order_relaxed);
  }
  /// An attempt had taken that long when it was given up.
  void ObserveAtLeast(absl::Duration latency, TimePoint now) {
    if (absl::ToDoubleNanoseconds(latency) > Latency(now)) Observe(latency, now);
  }

  /// What one more attempt would wait, in nanoseconds, as far as it is known. `unknown`: the latency of one that has
  /// been asked, but has not answered.
  double Cost(TimePoint now, double unknown = kUnknown) const {
    const double waiting = in_flight();
    const double latency = Latency(now);
    // Nothing is known: the first one is welcome, the next ones better wait for what it says. Of two of whom nothing is
    // known, since they carry streams alone, the one with fewer of them is cheaper.
    const bool asked = waiting > streams_.load(std::memory_order_relaxed);
    const double cost = latency > 0 ? latency * (waiting + 1) : asked ? unknown * (waiting + 1) : waiting;
    return Avoided(now) ? cost + kAvoided : cost;
  }
  /// The one of two that the next attempt had better go to.
  static Load& Better(Load& a, Load& b, TimePoint now) {
    const double of_a = a.Cost(now, b.Guess(now));
    const double of_b = b.Cost(now, a.Guess(now));
    Load& better = of_a <= of_b ? a : b;
    Load& worse = of_a <= of_b ? b : a;
    const double same = kWorthTelling * (std::min)(of_a, of_b) + a.Noise() + b.Noise();
    if (std::abs(of_a - of_b) <= same || (worse.Untold() && !worse.Avoided(now))) return b.turn() < a.turn() ? b : a;
    worse.Lose();
    return better;
  }
  /// How often it was taken, for as far as that matters.
  std::int64_t turn() const { return turn_.load(std::memory_order_relaxed); }
  /// It was its turn, beside `other`. One that was not taken for long is not owed all of that.
  void TakeTurn(const Load& other) {
    turn_.store((std::max)(turn(), other.turn() - kOwed) + 1, std::memory_order_relaxed);
  }
  /// The same, and it does without.
  void PassTurn(const Load& other) { turn_.store((std::max)(turn(), other.turn()) + 1, std::memory_order_relaxed); }

 private:
  static constexpr double kMemorySeconds = 10;
  static constexpr int kFew = 3, kMany = 16;    // samples
  static constexpr double kFarOff = 3;          // times the mean; a sample beyond that counts as this
  static constexpr double kWorthTelling = 0.4;  // of the lesser cost
  static constexpr double kMemoryLosses = 32;
  static constexpr std::int64_t kOwed = 32;  // turns
  static constexpr double kUnknown = 1e9;
  static constexpr double kAvoided = 1e12;
  static constexpr int kLong = 4;  // failures, and as many waits
  static constexpr std::chrono::milliseconds kShortest{50};
  static constexpr std::chrono::milliseconds kLongest{500};

  static std::chrono::nanoseconds Wait(int failures) {
    return (std::min)(kLongest, kShortest * (1 << (std::min)(failures - 1, 10)));
  }
  // From 1 to 0 with the time since the last sample, and with the comparisons lost since: what was slow a while ago may
  // be quick again, and has to be tried to be known.
  double StillTrue(TimePoint now) const {
    const double since = std::chrono::duration<double>(now - observed_.load(std::memory_order_relaxed)).count();
    return std::exp(-(std::max)(since, 0.0) / kMemorySeconds - losses_.load(std::memory_order_relaxed) / kMemoryLosses);
  }
  double Latency(TimePoint now) const {
    const double mean = mean_.load(std::memory_order_relaxed);
    return mean == 0 ? 0 : mean * StillTrue(now);
  }
  // Of the samples, the next one's share in the mean.
  static double Gain(int samples) { return 1.0 / (std::min)(samples, kMany); }
  // What is not known for certain of the cost: about one standard error of the mean.
  double Noise() const {
    const int known = samples_.load(std::memory_order_relaxed);
    if (known == 0) return 0;
    return deviation_.load(std::memory_order_relaxed) * std::sqrt(Gain(known)) * (in_flight() + 1);
  }
  // For another of which nothing is known.
  double Guess(TimePoint now) const {
    const double latency = Latency(now);
    return latency > 0 ? 2 * latency : kUnknown;
  }
  // Whether it is idle, and the few answers that it gave may have been exceptions.
  bool Untold() const {
    const int known = samples_.load(std::memory_order_relaxed);
    return known > 0 && known < kFew && in_flight() == 0;
  }
  // While it carries calls it will be known soon.
  void Lose() {
    if (in_flight() == 0) losses_.fetch_add(1, std::memory_order_relaxed);
  }

  std::atomic<int> in_flight_{0};
  std::atomic<int> streams_{0};   // of those
  std::atomic<int> failures_{0};  // since it last answered
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<int> samples_{0};  // up to kMany
  std::atomic<int> losses_{0};   // since the last sample
  std::atomic<std::int64_t> turn_{0};
  std::atomic<double> mean_{0};       // nanoseconds
  std::atomic<double> deviation_{0};  // the samples' mean distance from it
  std::atomic<TimePoint> observed_{TimePoint()};
  std::atomic<TimePoint> avoid_until_{TimePoint::min()};
};

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_LOAD_H_
