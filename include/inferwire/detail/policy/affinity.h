// SPDX-License-Identifier: Apache-2.0
//
// Which of several targets a key belongs to. Pure, and the same in every process.
#ifndef INFERWIRE_DETAIL_POLICY_AFFINITY_H_
#define INFERWIRE_DETAIL_POLICY_AFFINITY_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace policy {

/// Spreads a number's bits over all of it (the finaliser of SplitMix64, Steele et al., OOPSLA 2014).
constexpr std::uint64_t Mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}
/// FNV-1a, spread; no seed of the process's, so that several gateways agree. Never 0, which stands for no key.
constexpr std::uint64_t HashOf(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  hash = Mix(hash);
  return hash != 0 ? hash : 1;
}

/// Rendezvous hashing (Thaler and Ravishankar, IEEE/ACM ToN 1998): a key belongs to the target whose weight for it is
/// the greatest. A target that goes takes only its own keys with it, and each of them goes to the next in its order.
constexpr std::uint64_t AffinityWeight(std::uint64_t key, std::uint64_t target) { return Mix(key ^ Mix(target)); }

/// How many calls one target may have of `in_flight` and one more, which are shared by `targets`: a quarter more than
/// its share ("Consistent Hashing with Bounded Loads", Mirrokni et al., SODA 2018). Keys beyond that go to their next.
inline std::size_t AffinityBound(std::size_t in_flight, std::size_t targets) {
  constexpr double kMoreThanShare = 1.25;
  return static_cast<std::size_t>(
      std::ceil(kMoreThanShare * static_cast<double>(in_flight + 1) / static_cast<double>(targets)));
}

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_AFFINITY_H_
