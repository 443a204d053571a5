// SPDX-License-Identifier: Apache-2.0
//
// How long calls took of late.
#ifndef INFERWIRE_DETAIL_POLICY_LATENCY_H_
#define INFERWIRE_DETAIL_POLICY_LATENCY_H_

#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace policy {

/// The latencies of late, as counts in log-linear buckets, 8 to a power of two as in HdrHistogram (hdrhistogram.org): a
/// quantile is read up to 12.5 % too high. Old ones fade, since all counts are halved every 4096 samples. Safe from any
/// thread, without locks; what is added while they are halved may count for a little more or less.
class LatencyHistogram {
 public:
  void Add(absl::Duration latency) {
    counts_[BucketOf(latency)].fetch_add(1, std::memory_order_relaxed);
    if (total_.fetch_add(1, std::memory_order_relaxed) + 1 < kFade) return;
    std::uint32_t expected = total_.load(std::memory_order_relaxed);
    if (expected < kFade || !total_.compare_exchange_strong(expected, expected / 2, std::memory_order_relaxed)) return;
    for (std::atomic<std::uint32_t>& count : counts_) {
      count.store(count.load(std::memory_order_relaxed) / 2, std::memory_order_relaxed);
    }
  }

  /// The latency that a share of `quantile` of the samples does not exceed; none before so many samples.
  std::optional<absl::Duration> Quantile(double quantile, std::uint64_t samples = 100) const {
    std::uint64_t total = 0;
    for (const std::atomic<std::uint32_t>& count : counts_) total += count.load(std::memory_order_relaxed);
    if (total < (std::max<std::uint64_t>)(samples, 1)) return std::nullopt;
    const auto rank = static_cast<std::uint64_t>(std::ceil(quantile * static_cast<double>(total)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i].load(std::memory_order_relaxed);
      if (seen >= rank) return UpperBound(i);
    }
    return UpperBound(counts_.size() - 1);
  }

 private:
  static constexpr std::uint32_t kFade = 4096;
  static constexpr int kSteps = 8;  // in a doubling
  // From a microsecond to more than an hour.
  static constexpr std::size_t kBuckets = 32 * kSteps;

  static std::size_t BucketOf(absl::Duration latency) {
    const auto us = static_cast<std::uint64_t>((std::max<std::int64_t>)(absl::ToInt64Microseconds(latency), 1));
    const int doubling = static_cast<int>(std::bit_width(us)) - 1;
    const std::uint64_t within = ((us << 3) >> doubling) - kSteps;
    return (std::min)(static_cast<std::size_t>(doubling) * kSteps + static_cast<std::size_t>(within), kBuckets - 1);
  }
  static absl::Duration UpperBound(std::size_t bucket) {
    const double base = std::ldexp(1.0, static_cast<int>(bucket / kSteps));
    return absl::Microseconds(base * (1.0 + static_cast<double>(bucket % kSteps + 1) / kSteps));
  }

  std::array<std::atomic<std::uint32_t>, kBuckets> counts_{};
  std::atomic<std::uint32_t> total_{0};
};

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_LATENCY_H_
