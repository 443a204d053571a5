// SPDX-License-Identifier: Apache-2.0
//
// Where an attempt goes: which of the targets, and which of the connections to it.
#ifndef INFERWIRE_DETAIL_CHANNEL_POOL_H_
#define INFERWIRE_DETAIL_CHANNEL_POOL_H_

#include <absl/container/inlined_vector.h>
#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/endpoint.h"
#include "inferwire/detail/channel/load.h"
#include "inferwire/detail/channel/outlier.h"
#include "inferwire/detail/policy/affinity.h"
#include "inferwire/detail/policy/latency.h"
#include "inferwire/options/target_order.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace channel {

/// One of a client's targets, and what the client knows of it.
struct Target {
  Target(std::shared_ptr<Endpoint> given, const OutlierPolicy& policy, TimePoint since)
      : endpoint(std::move(given)), hash(policy::HashOf(endpoint->target())), outlier(policy), cold_since(since) {}
  const std::shared_ptr<Endpoint> endpoint;
  const std::uint64_t hash;  // of its name
  Outlier outlier;
  std::atomic<bool> unhealthy{false};  // as its health check says
  std::atomic<TimePoint> cold_since;   // start of its slow start

  std::atomic<std::uint64_t> attempts{0}, ended{0}, failures{0}, ejections{0};
  policy::LatencyHistogram latencies;
};

/// What became of an attempt, as far as its target is judged by it.
enum class Outcome {
  kAnswered,   ///< the server said something, if only that the request is wrong
  kFailed,     ///< the server, or the way to it, failed
  kUnreached,  ///< no connection
  kNone,       ///< given up before there was anything to tell
};

class Pool;

/// How an attempt uses its target.
enum class LeaseKind {
  kCall,     ///< a call of its own, on a connection
  kMessage,  ///< a message on a stream, which is the call
};

/// An attempt's place at a target, from its pick to its verdict.
class Lease {
 public:
  /// `channel` was entered for it; without one it is a message on some stream.
  Lease(Pool& pool, std::shared_ptr<Target> target, Channel* channel, bool timed, bool probe)
      : pool_(&pool),
        target_(std::move(target)),
        channel_(channel != nullptr ? channel->shared_from_this() : nullptr),
        load_epoch_(target_->endpoint->load().epoch()),
        outlier_epoch_(target_->outlier.epoch()),
        timed_(timed),
        probe_(probe),
        warm_(channel == nullptr || channel->warm()) {
    target_->attempts.fetch_add(1, std::memory_order_relaxed);
  }
  Lease(Lease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        target_(std::move(other.target_)),
        channel_(std::move(other.channel_)),
        load_epoch_(other.load_epoch_),
        outlier_epoch_(other.outlier_epoch_),
        timed_(other.timed_),
        probe_(other.probe_),
        warm_(other.warm_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() { Release(Outcome::kNone, std::nullopt, TimePoint()); }

  /// Of a call.
  Channel& channel() const { return *channel_; }
  const std::string& target() const { return target_->endpoint->target(); }
  const Target* id() const { return target_.get(); }
  /// For another attempt there.
  const std::shared_ptr<Target>& place() const { return target_; }
  /// Where the connection may be dead, see Endpoint; until the verdict.
  Endpoint& endpoint() const { return *target_->endpoint; }
  void MoveBeside() {
    std::shared_ptr<Channel> beside = channel_ != nullptr ? endpoint().MoveBeside(*channel_) : nullptr;
    if (beside == nullptr) return;
    channel_ = std::move(beside);
    set_cold();
  }
  /// Its latency will tell more of connecting than of the target.
  void set_cold() { warm_ = false; }

  /// The first verdict counts. `latency` where it tells how quick the target is.
  inline void Release(Outcome verdict, std::optional<absl::Duration> latency, TimePoint now);

 private:
  Pool* pool_;  // until the verdict
  // Kept to the end, since the attempt asks them later: who it was, and what its error means.
  std::shared_ptr<Target> target_;
  std::shared_ptr<Channel> channel_;
  // In which it began: what becomes of it tells of those.
  std::uint32_t load_epoch_, outlier_epoch_;
  bool timed_;
  bool probe_;
  bool warm_;
};

/// A client's targets. Safe from any thread; Pick takes no lock. It takes the better of two that are drawn at random
/// ("the power of two choices", Mitzenmacher, IEEE TPDS 2001), by what Load knows of each.
class Pool {
 public:
  Pool(std::vector<std::shared_ptr<Endpoint>> endpoints, TargetOrder order, const OutlierPolicy& outliers)
      : order_(order), outliers_(outliers), targets_(MakeList(std::move(endpoints), {}, kWarm)) {}
  ~Pool() { delete targets_.load(); }

  std::size_t size() const {
    const Reading reading(*this);
    return reading.list().size();
  }

  /// `avoid`: the target that was tried last, which is only tried again where there is no other. `random` gives what is
  /// uniform in [0, 1). `timed`: whether its latency will be told.
  template <class Draw>
  Lease Pick(const Target* avoid, TimePoint now, Draw random, bool timed = true, LeaseKind use = LeaseKind::kCall) {
    const auto take = [&](const std::shared_ptr<Target>& target, bool half_open) {
      return Take(target, now, random, timed, use, half_open);
    };
    const Reading reading(*this);
    const List& list = reading.list();
    if (list.size() == 1) return take(list.front(), false);
    // Of two, the one whose turn it is not is told of it.
    const auto take_turn = [&](const std::shared_ptr<Target>& target, const std::shared_ptr<Target>& other) {
      target->endpoint->load().TakeTurn(other->endpoint->load());
      return take(target, false);
    };
    const bool some_out = out_.load(std::memory_order_relaxed) != 0;
    const bool panic = panic_.load(std::memory_order_relaxed);
    const auto fit = [&](const std::shared_ptr<Target>& target) {
      return target.get() != avoid && (panic || !some_out || !Out(*target));
    };
    // One that failed just now is worth no more than one attempt at a time, whatever else is drawn.
    const auto probe = [&](const std::shared_ptr<Target>& target) {
      return fit(target) && target->endpoint->load().ClaimProbe(now);
    };
    // One that is to be probed comes first: nothing is known of it until someone goes there.
    if (some_out && !panic) {
      for (const auto& target : list) {
        bool half_open = false;
        if (target.get() == avoid || !target->outlier.ejected() || target->unhealthy) continue;
        if (target->outlier.Enter(now, &half_open) && half_open) return take(target, true);
      }
    }
    const std::shared_ptr<Target>* best = nullptr;
    if (order_ == TargetOrder::kBalanced) {
      const std::size_t first = Index(random(), list.size());
      const std::size_t second = (first + 1 + Index(random(), list.size() - 1)) % list.size();
      for (const std::size_t drawn : {first, second}) {
        if (probe(list[drawn])) return take(list[drawn], false);
      }
      const bool a = fit(list[first]) && !list[first]->endpoint->load().Avoided(now);
      const bool b = fit(list[second]) && !list[second]->endpoint->load().Avoided(now);
      if (a && b) {
        const auto& better = Better(list[first], list[second], now);
        const auto& other = &better == &list[first] ? list[second] : list[first];
        if (Warm(*better, now, random)) return take_turn(better, other);
        if (Warm(*other, now, random)) {
          better->endpoint->load().PassTurn(other->endpoint->load());
          return take_turn(other, better);
        }
      } else if (a || b) {
        const auto& only = list[a ? first : second];
        if (Warm(*only, now, random)) return take_turn(only, list[a ? second : first]);
      }
      // Both are out of the question: the best of all others.
      for (const auto& target : list) {
        if (fit(target)) best = best == nullptr ? &target : &Better(*best, target, now);
      }
    } else {
      for (const auto& target : list) {
        if (!fit(target)) continue;
        if (probe(target) || (!target->endpoint->load().Avoided(now) && Warm(*target, now, random))) {
          return take(target, false);
        }
        if (best == nullptr || (*best)->endpoint->load().Avoided(now)) best = &target;
      }
    }
    if (best != nullptr) return take(*best, false);
    // No target is usable: any will do, preferably not the last one that failed.
    std::size_t any = Index(random(), list.size());
    if (list[any].get() == avoid) any = (any + 1) % list.size();
    return take(list[any], false);
  }

  /// The target that calls of this key (policy::HashOf) go to as long as it can serve, and is not given more than a
  /// quarter beyond its share; else the next in the key's own order.
  template <class Draw>
  Lease PickFor(std::uint64_t key, const Target* avoid, TimePoint now, Draw random, bool timed = true,
                LeaseKind use = LeaseKind::kCall) {
    if (order_ == TargetOrder::kBalanced) {
      const Reading reading(*this);
      const List& list = reading.list();
      absl::InlinedVector<std::pair<std::uint64_t, const std::shared_ptr<Target>*>, 16> order;
      std::size_t in_flight = 0;
      std::size_t usable = 0;
      for (const auto& target : list) {
        order.emplace_back(policy::AffinityWeight(key, target->hash), &target);
        in_flight += InFlight(*target);
        if (!Out(*target)) ++usable;
      }
      std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
      const std::size_t bound = policy::AffinityBound(in_flight, (std::max)(usable, std::size_t{1}));
      for (const auto& [weight, at] : order) {
        const std::shared_ptr<Target>& target = *at;
        if (target.get() == avoid || target->unhealthy) continue;
        if (target->outlier.ejected()) {
          bool half_open = false;
          if (target->outlier.Enter(now, &half_open) && half_open) return Take(target, now, random, timed, use, true);
          continue;
        }
        if (InFlight(*target) >= bound) continue;
        Load& load = target->endpoint->load();
        if (!load.Avoided(now) || load.ClaimProbe(now)) return Take(target, now, random, timed, use);
      }
    }
    return Pick(avoid, now, random, timed, use);
  }

  /// The same for a target that is given.
  template <class Draw>
  Lease Take(const std::shared_ptr<Target>& target, TimePoint now, Draw& random, bool timed, LeaseKind use,
             bool probe = false) {
    Endpoint& endpoint = *target->endpoint;
    Channel* channel = nullptr;
    if (use == LeaseKind::kCall) {
      channel = &endpoint.Enter(endpoint.active() > 1 ? random() : 0, now, timed);
    } else {
      endpoint.load().Begin(timed);
    }
    return Lease(*this, target, channel, timed, probe);
  }

  /// New targets in place of the old ones; those that stay keep what is known of them. Calls in flight go on.
  void Replace(std::vector<std::shared_ptr<Endpoint>> endpoints, TimePoint now) {
    {
      std::lock_guard lock(replacing_);
      const List* const old = targets_.load();
      targets_.store(MakeList(std::move(endpoints), *old, now));
      // Those who may still read the old list leave within a microsecond. New readers are counted elsewhere while they
      // are waited for; twice, since one may have looked up where to be counted long before.
      for (int i = 0; i < 2; ++i) {
        std::atomic<int>& leaving = readers_[epoch_.fetch_add(1) % 2];
        while (leaving.load() != 0) std::this_thread::yield();
      }
      delete old;
    }
    Review();
  }

  /// What a health check says of a target.
  void SetHealth(Target& target, bool healthy, TimePoint now) {
    if (target.unhealthy.exchange(!healthy) == !healthy) return;
    if (healthy) target.cold_since = now;
    Review();
  }

  std::vector<std::shared_ptr<Target>> targets() const {
    const Reading reading(*this);
    return reading.list();
  }

 private:
  friend class Lease;
  using List = std::vector<std::shared_ptr<Target>>;

  // The list as it is now, which stays while it is looked at: read-copy-update with two counts of readers, of which the
  // writer waits for the one that is left (McKenney and Slingwine, "Read-Copy Update", PDCS 1998).
  class Reading {
   public:
    explicit Reading(const Pool& pool) : readers_(pool.readers_[pool.epoch_.load() % 2]) {
      readers_.fetch_add(1);
      list_ = pool.targets_.load();
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() { readers_.fetch_sub(1); }
    const List& list() const { return *list_; }

   private:
    std::atomic<int>& readers_;
    const List* list_;
  };

  static constexpr TimePoint kWarm = TimePoint::min();

  List* MakeList(std::vector<std::shared_ptr<Endpoint>> endpoints, const List& old, TimePoint now) const {
    auto list = std::make_unique<List>();
    bool all_new = true;
    for (std::shared_ptr<Endpoint>& endpoint : endpoints) {
      std::shared_ptr<Target> target;
      for (const auto& known : old) {
        if (known->endpoint == endpoint) target = known;
      }
      all_new = all_new && target == nullptr;
      list->push_back(target != nullptr ? target : std::make_shared<Target>(std::move(endpoint), outliers_, now));
    }
    // With only new targets there is no warm one to send the rest to, so there is no slow start.
    if (all_new) {
      for (const auto& target : *list) target->cold_since = kWarm;
    }
    return list.release();
  }
  static std::size_t Index(double unit, std::size_t size) {
    return (std::min)(static_cast<std::size_t>(unit * static_cast<double>(size)), size - 1);
  }
  static std::size_t InFlight(const Target& target) {
    const std::uint64_t ended = target.ended.load(std::memory_order_relaxed);  // before those that began
    const std::uint64_t began = target.attempts.load(std::memory_order_relaxed);
    return began > ended ? std::size_t{began - ended} : 0;
  }
  static bool Out(const Target& target) { return target.unhealthy || target.outlier.ejected(); }
  /// Whether a target takes the call that it was drawn for: always, unless it came back just now.
  template <class Draw>
  bool Warm(Target& target, TimePoint now, Draw& random) const {
    const TimePoint since = target.cold_since.load(std::memory_order_relaxed);
    if (since == kWarm) return true;
    const double share =
        absl::FDivDuration(Between(since, now), outliers_.slow_start);  // infinite or none where it is 0
    if (!(share < 1)) {
      target.cold_since.store(kWarm, std::memory_order_relaxed);
      return true;
    }
    return random() < (std::max)(share, 0.1);
  }
  static const std::shared_ptr<Target>& Better(const std::shared_ptr<Target>& a, const std::shared_ptr<Target>& b,
                                               TimePoint now) {
    return &Load::Better(a->endpoint->load(), b->endpoint->load(), now) == &a->endpoint->load() ? a : b;
  }
  // Whether one more target may be ejected without exceeding the share.
  bool MayEject() const {
    const Reading reading(*this);
    const auto ejected = std::count_if(reading.list().begin(), reading.list().end(),
                                       [](const auto& target) { return target->outlier.ejected(); });
    return static_cast<double>(ejected + 1) <= outliers_.max_ejected * static_cast<double>(reading.list().size());
  }

  // Counts anew who is out, so that a pick need not.
  void Review() {
    std::lock_guard lock(reviewing_);
    const Reading reading(*this);
    const List& list = reading.list();
    const auto out = std::count_if(list.begin(), list.end(), [](const auto& target) { return Pool::Out(*target); });
    const auto left = static_cast<double>(list.size()) - static_cast<double>(out);
    panic_.store(left < outliers_.panic_threshold * static_cast<double>(list.size()), std::memory_order_relaxed);
    out_.store(static_cast<int>(out), std::memory_order_relaxed);
  }

  const TargetOrder order_;
  const OutlierPolicy outliers_;
  std::atomic<const List*> targets_;
  mutable std::array<std::atomic<int>, 2> readers_{};
  std::atomic<unsigned> epoch_{0};
  std::atomic<int> out_{0};  // how many are ejected or unhealthy
  std::atomic<bool> panic_{false};
  std::mutex replacing_, reviewing_;
};

inline void Lease::Release(Outcome verdict, std::optional<absl::Duration> latency, TimePoint now) {
  Pool* const pool = std::exchange(pool_, nullptr);
  if (pool == nullptr) return;
  Target& target = *target_;
  Load& load = target.endpoint->load();
  if (channel_ == nullptr) {
    load.End(timed_);
  } else {
    if (verdict == Outcome::kAnswered || verdict == Outcome::kUnreached) {
      channel_->set_warm(verdict == Outcome::kAnswered);
    }
    target.endpoint->Leave(*channel_, timed_);
  }
  target.ended.fetch_add(1, std::memory_order_relaxed);
  if (verdict == Outcome::kFailed || verdict == Outcome::kUnreached) {
    target.failures.fetch_add(1, std::memory_order_relaxed);
    if (load_epoch_ == load.epoch()) load.Failed(now);  // others of the same time failed for the same cause
  }
  switch (verdict) {
    case Outcome::kAnswered:
      target.endpoint->Connected();
      if (load.Answered()) target.cold_since.store(now, std::memory_order_relaxed);
      if (latency.has_value()) {
        if (warm_) load.Observe(*latency, now);
        target.latencies.Add(*latency);
      }
      if (target.outlier.OnAnswer(now, outlier_epoch_, probe_)) {
        target.cold_since.store(now, std::memory_order_relaxed);
        pool->Review();
      }
      return;
    case Outcome::kFailed:
      if (target.outlier.OnFailure(now, outlier_epoch_, probe_, [pool] { return pool->MayEject(); })) {
        target.ejections.fetch_add(1, std::memory_order_relaxed);
        pool->Review();
      }
      return;
    case Outcome::kUnreached:
      if (probe_) target.outlier.OnFailure(now, outlier_epoch_, probe_, [] { return true; });
      return;
    case Outcome::kNone:
      if (latency.has_value()) load.ObserveAtLeast(*latency, now);
      if (probe_) target.outlier.OnNoVerdict(outlier_epoch_);
      return;
  }
}

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_POOL_H_
