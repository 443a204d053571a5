// SPDX-License-Identifier: Apache-2.0
//
// Where an attempt goes: which of the targets, and which of the connections to it.
#ifndef INFERWIRE_CHANNEL_POOL_H_
#define INFERWIRE_CHANNEL_POOL_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/channel/channel.h"
#include "inferwire/channel/load.h"
#include "inferwire/channel/outlier.h"
#include "inferwire/clock.h"
#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {

/// How many connections a client has to each target. One carries many calls at a time, but servers bound how many
/// (often 100), and gRPC has the rest wait without a word.
struct PoolPolicy {
  int min_channels = 1;                            ///< connections that are kept
  int max_channels = 8;                            ///< at most 64
  int max_streams_per_channel = 100;               ///< one more is opened when all carry so many calls
  absl::Duration idle_timeout = absl::Minutes(1);  ///< a connection beyond the least that is not needed is closed
  absl::Duration max_reconnect_backoff = absl::Seconds(1);  ///< between attempts to connect; gRPC's own is two minutes
};

/// What several targets are to one another.
enum class TargetOrder {
  kBalanced,  ///< equals: the less busy and quicker of two drawn at random
  kPriority,  ///< the first is used as long as it works, then the second, and so on
};

namespace channel {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const PoolPolicy& policy) {
  if (policy.min_channels < 1 || policy.max_channels < policy.min_channels || policy.max_channels > 64) {
    return absl::InvalidArgumentError(detail::Cat("pool.min_channels is ", policy.min_channels, " and max_channels ",
                                                  policy.max_channels,
                                                  "; expected 1 to 64, and max_channels no less than min_channels"));
  }
  if (policy.max_streams_per_channel < 1) {
    return absl::InvalidArgumentError(
        detail::Cat("pool.max_streams_per_channel is ", policy.max_streams_per_channel, "; expected at least 1"));
  }
  if (policy.idle_timeout < absl::Seconds(1) || policy.max_reconnect_backoff < absl::Milliseconds(100)) {
    return absl::InvalidArgumentError(
        detail::Cat("pool.idle_timeout is ", absl::FormatDuration(policy.idle_timeout), " and max_reconnect_backoff ",
                    absl::FormatDuration(policy.max_reconnect_backoff), "; expected at least 1s and 100ms"));
  }
  return absl::OkStatus();
}

/// The connections to one target. Shared by all clients for which target, credentials and arguments agree. Safe from
/// any thread; picking takes no lock unless it opens a connection.
class Endpoint {
 public:
  /// Makes one more connection; `spare` if it is beyond those that are kept.
  using Connect = std::function<std::unique_ptr<Channel>(bool spare)>;

  Endpoint(std::string target, const PoolPolicy& policy, Connect connect)
      : target_(std::move(target)), policy_(policy), connect_(std::move(connect)), active_(policy.min_channels) {}

  const std::string& target() const { return target_; }
  Load& load() { return load_; }
  int active() const { return active_.load(std::memory_order_relaxed); }

  /// The less busy of two connections; one more where all are full. `unit` is uniform in [0, 1).
  Channel& Pick(double unit, TimePoint now) {
    const int count = active_.load(std::memory_order_acquire);
    int picked = 0;
    if (count > 1) {
      const int pairs = count * (count - 1);
      const int pair = (std::min)(static_cast<int>(unit * pairs), pairs - 1);
      const int first = pair / (count - 1);
      const int second = (first + 1 + pair % (count - 1)) % count;
      picked = At(first).in_flight() <= At(second).in_flight() ? first : second;
    }
    if (At(picked).in_flight() < policy_.max_streams_per_channel) {
      if (count > policy_.min_channels) MayShrink(count, now);
      return At(picked);
    }
    for (int i = 0; i < count; ++i) {
      if (At(i).in_flight() < At(picked).in_flight()) picked = i;
    }
    if (At(picked).in_flight() < policy_.max_streams_per_channel || count == policy_.max_channels) return At(picked);
    int expected = count;
    active_.compare_exchange_strong(expected, count + 1,
                                    std::memory_order_acq_rel);  // another one may have been quicker
    needed_.store(now, std::memory_order_relaxed);
    return At(count);
  }

  /// Begins to connect what is kept open.
  void StartConnecting() {
    for (int i = 0; i < policy_.min_channels; ++i) At(i).StartConnecting();
  }
  /// Waits until what is kept open is connected; false if that takes too long.
  bool WaitUntilConnected(std::chrono::system_clock::time_point deadline) {
    bool all = true;
    for (int i = 0; i < policy_.min_channels; ++i) all = At(i).WaitForConnected(deadline) && all;
    return all;
  }

 private:
  Channel& At(int number) {
    std::atomic<Channel*>& slot = slots_[static_cast<std::size_t>(number)];
    if (Channel* const channel = slot.load(std::memory_order_acquire)) return *channel;
    std::lock_guard lock(mutex_);
    if (slot.load(std::memory_order_relaxed) == nullptr) {
      owned_.push_back(connect_(number >= policy_.min_channels));
      slot.store(owned_.back().get(), std::memory_order_release);
    }
    return *slot.load(std::memory_order_relaxed);
  }
  // The last connection is taken out of use once the others would do for half of what they may carry. gRPC closes what
  // carries nothing for the idle timeout.
  void MayShrink(int count, TimePoint now) {
    if (load_.in_flight() > (count - 1) * policy_.max_streams_per_channel / 2) {
      needed_.store(now, std::memory_order_relaxed);
    } else if (now - needed_.load(std::memory_order_relaxed) > absl::ToChronoNanoseconds(policy_.idle_timeout)) {
      active_.compare_exchange_strong(count, count - 1, std::memory_order_acq_rel);
      needed_.store(now, std::memory_order_relaxed);
    }
  }

  const std::string target_;
  const PoolPolicy policy_;
  const Connect connect_;
  std::atomic<int> active_;
  std::atomic<TimePoint> needed_{TimePoint()};  // when the last connection was, last
  Load load_;
  std::array<std::atomic<Channel*>, 64> slots_{};
  std::mutex mutex_;
  std::vector<std::unique_ptr<Channel>> owned_;
};

/// The endpoints of the process, by everything that tells them apart.
class Endpoints {
 public:
  static Endpoints& Instance() {
    static Endpoints* const endpoints = new Endpoints;  // never destroyed: a client may outlive static storage
    return *endpoints;
  }
  template <class Make>
  std::shared_ptr<Endpoint> Get(const std::string& key, Make make) {
    std::lock_guard lock(mutex_);
    std::erase_if(endpoints_, [](const auto& entry) { return entry.second.expired(); });
    std::shared_ptr<Endpoint> endpoint = endpoints_[key].lock();
    if (endpoint == nullptr) endpoints_[key] = endpoint = make();
    return endpoint;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Endpoint>> endpoints_;
};

/// Gives a client its endpoints: those that are there already for the same target, credentials and arguments, or new
/// ones.
class Connector {
 public:
  /// `identity` tells the credentials from others.
  Connector(std::shared_ptr<grpc::ChannelCredentials> credentials, const std::string& identity,
            const PoolPolicy& policy, int max_receive_bytes)
      : credentials_(std::move(credentials)),
        policy_(policy),
        arguments_(Arguments(max_receive_bytes, Milliseconds(policy.max_reconnect_backoff))),
        key_(detail::Cat(max_receive_bytes, " ", policy.min_channels, " ", policy.max_channels, " ",
                         policy.max_streams_per_channel, " ", absl::FormatDuration(policy.idle_timeout), " ",
                         absl::FormatDuration(policy.max_reconnect_backoff), "\n", identity)) {}

  std::vector<std::shared_ptr<Endpoint>> Connect(const std::vector<std::string>& targets) const {
    std::vector<std::shared_ptr<Endpoint>> out;
    for (const std::string& target : targets) {
      std::shared_ptr<Endpoint> endpoint = Endpoints::Instance().Get(detail::Cat(target, "\n", key_), [&] {
        return std::make_shared<Endpoint>(
            target, policy_, [target, policy = policy_, credentials = credentials_, base = arguments_](bool spare) {
              grpc::ChannelArguments arguments = base;
              // gRPC has channels with equal arguments share a connection.
              static std::atomic<int> connections{0};
              arguments.SetInt("inferwire.connection", ++connections);
              // A spare one, out of use, is closed by gRPC. Not asked for where it is not needed: each call pays for
              // it.
              if (spare) arguments.SetInt("grpc.client_idle_timeout_ms", Milliseconds(policy.idle_timeout));
              return std::make_unique<Channel>(target, credentials, arguments);
            });
      });
      // A target that is named twice is one target.
      if (std::find(out.begin(), out.end(), endpoint) == out.end()) out.push_back(std::move(endpoint));
    }
    return out;
  }

 private:
  // As gRPC takes them: no more than fit, however long.
  static int Milliseconds(absl::Duration duration) {
    constexpr std::int64_t kMost = (std::numeric_limits<std::int32_t>::max)();
    return static_cast<int>((std::min)(absl::ToInt64Milliseconds(duration), kMost));
  }

  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const PoolPolicy policy_;
  const grpc::ChannelArguments arguments_;
  const std::string key_;
};

/// One of a client's targets.
struct Target {
  Target(std::shared_ptr<Endpoint> given, const OutlierPolicy& policy) : endpoint(std::move(given)), outlier(policy) {}
  const std::shared_ptr<Endpoint> endpoint;
  Outlier outlier;
};

/// What became of an attempt, as far as its target is judged by it.
enum class Verdict {
  kAnswered,   ///< the server said something, if only that the request is wrong
  kFailed,     ///< the server, or the way to it, failed
  kUnreached,  ///< no connection
  kNone,       ///< given up before there was anything to tell
};

class Pool;

/// An attempt's place on a connection, from its pick to its verdict.
class Lease {
 public:
  Lease(Pool& pool, std::shared_ptr<Target> target, Channel& channel, bool probe)
      : pool_(&pool), target_(std::move(target)), channel_(&channel), probe_(probe) {
    target_->endpoint->load().Begin();
    channel_->Begin();
  }
  Lease(Lease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        target_(std::move(other.target_)),
        channel_(other.channel_),
        probe_(other.probe_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() { Return(Verdict::kNone, std::nullopt, TimePoint()); }

  Channel& channel() const { return *channel_; }
  const std::string& target() const { return target_->endpoint->target(); }
  const Target* id() const { return target_.get(); }

  /// The first verdict counts. `latency` where it tells how quick the target is.
  inline void Return(Verdict verdict, std::optional<absl::Duration> latency, TimePoint now);

 private:
  Pool* pool_;                      // until the verdict
  std::shared_ptr<Target> target_;  // kept to the end, since the attempt's name for it is wanted later
  Channel* channel_;
  bool probe_;
};

/// A client's targets. Safe from any thread; Pick takes no lock.
class Pool {
 public:
  Pool(std::vector<std::shared_ptr<Endpoint>> endpoints, TargetOrder order, const OutlierPolicy& outliers)
      : order_(order), outliers_(outliers), targets_(MakeList(std::move(endpoints), {})) {}
  ~Pool() { delete targets_.load(); }

  std::size_t size() const {
    const Reading reading(*this);
    return reading.list().size();
  }

  /// `avoid`: the target that was tried last, which is only tried again where there is no other. `random` gives what is
  /// uniform in [0, 1).
  template <class Draw>
  Lease Pick(const Target* avoid, TimePoint now, Draw random) {
    const Reading reading(*this);
    const List& list = reading.list();
    bool probe = false;
    if (list.size() == 1) return Take(list.front(), random, now, false);
    if (order_ == TargetOrder::kBalanced) {
      // One that is to be probed comes first: nothing is known of it until someone goes there.
      for (const auto& target : list) {
        if (target.get() != avoid && target->outlier.ejected() && target->outlier.Enter(now, &probe) && probe) {
          return Take(target, random, now, true);
        }
      }
      const std::size_t first = Index(random(), list.size());
      const std::size_t second = (first + 1 + Index(random(), list.size() - 1)) % list.size();
      const bool a = Eligible(list[first], avoid), b = Eligible(list[second], avoid);
      if (a && b) return Take(Cheaper(list[first], list[second], now), random, now, false);
      if (a || b) return Take(list[a ? first : second], random, now, false);
      // Both are out of the question: any other.
      const std::shared_ptr<Target>* best = nullptr;
      for (const auto& target : list) {
        if (!Eligible(target, avoid)) continue;
        best = best == nullptr ? &target : &Cheaper(*best, target, now);
      }
      if (best != nullptr) return Take(*best, random, now, false);
    } else {
      const std::shared_ptr<Target>* best = nullptr;
      for (const auto& target : list) {
        if (target.get() == avoid || !target->outlier.Enter(now, &probe)) continue;
        if (probe) return Take(target, random, now, true);
        if (!target->endpoint->load().Avoided(now)) return Take(target, random, now, false);
        if (best == nullptr) best = &target;
      }
      if (best != nullptr) return Take(*best, random, now, false);
    }
    // All are bad: whoever it is. Anyone but the one that failed just now, all the same.
    std::size_t any = Index(random(), list.size());
    if (list[any].get() == avoid) any = (any + 1) % list.size();
    return Take(list[any], random, now, false);
  }

  /// New targets in place of the old ones; those that stay keep what is known of them. Calls in flight go on.
  void Replace(std::vector<std::shared_ptr<Endpoint>> endpoints) {
    std::lock_guard lock(replacing_);
    const List* const old = targets_.load();
    targets_.store(MakeList(std::move(endpoints), *old));
    // Whoever reads the old list does so for less than a microsecond.
    while (readers_.load() != 0) std::this_thread::yield();
    delete old;
  }

  std::vector<std::shared_ptr<Target>> targets() const {
    const Reading reading(*this);
    return reading.list();
  }

 private:
  friend class Lease;
  using List = std::vector<std::shared_ptr<Target>>;

  // The list as it is now, which stays while it is looked at.
  class Reading {
   public:
    explicit Reading(const Pool& pool) : pool_(pool) {
      pool_.readers_.fetch_add(1);
      list_ = pool_.targets_.load();
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() { pool_.readers_.fetch_sub(1); }
    const List& list() const { return *list_; }

   private:
    const Pool& pool_;
    const List* list_;
  };

  List* MakeList(std::vector<std::shared_ptr<Endpoint>> endpoints, const List& old) const {
    auto list = std::make_unique<List>();
    for (std::shared_ptr<Endpoint>& endpoint : endpoints) {
      std::shared_ptr<Target> target;
      for (const auto& known : old) {
        if (known->endpoint == endpoint) target = known;
      }
      list->push_back(target != nullptr ? target : std::make_shared<Target>(std::move(endpoint), outliers_));
    }
    return list.release();
  }
  static std::size_t Index(double unit, std::size_t size) {
    return (std::min)(static_cast<std::size_t>(unit * static_cast<double>(size)), size - 1);
  }
  static bool Eligible(const std::shared_ptr<Target>& target, const Target* avoid) {
    return target.get() != avoid && !target->outlier.ejected();
  }
  static const std::shared_ptr<Target>& Cheaper(const std::shared_ptr<Target>& a, const std::shared_ptr<Target>& b,
                                                TimePoint now) {
    return a->endpoint->load().Cost(now) <= b->endpoint->load().Cost(now) ? a : b;
  }
  template <class Draw>
  Lease Take(const std::shared_ptr<Target>& target, Draw& random, TimePoint now, bool probe) {
    const bool several = target->endpoint->active() > 1;
    return Lease(*this, target, target->endpoint->Pick(several ? random() : 0, now), probe);
  }

  // Whether one more target may be ejected without exceeding the share.
  bool MayEject() const {
    const Reading reading(*this);
    const auto ejected = std::count_if(reading.list().begin(), reading.list().end(),
                                       [](const auto& target) { return target->outlier.ejected(); });
    return static_cast<double>(ejected + 1) <= outliers_.max_ejected * static_cast<double>(reading.list().size());
  }

  const TargetOrder order_;
  const OutlierPolicy outliers_;
  std::atomic<const List*> targets_;
  mutable std::atomic<int> readers_{0};
  std::mutex replacing_;
};

inline void Lease::Return(Verdict verdict, std::optional<absl::Duration> latency, TimePoint now) {
  Pool* const pool = std::exchange(pool_, nullptr);
  if (pool == nullptr) return;
  Load& load = target_->endpoint->load();
  channel_->End();
  load.End();
  switch (verdict) {
    case Verdict::kAnswered:
      load.Answered();
      if (latency.has_value()) load.Observe(*latency, now);
      target_->outlier.OnAnswer(now);
      return;
    case Verdict::kFailed:
      load.Failed(now);
      target_->outlier.OnFailure(now, [pool] { return pool->MayEject(); });
      return;
    case Verdict::kUnreached:
      load.Failed(now);
      if (probe_) target_->outlier.OnFailure(now, [] { return true; });
      return;
    case Verdict::kNone:
      if (latency.has_value()) load.ObserveAtLeast(*latency, now);
      if (probe_) target_->outlier.OnNoVerdict();
      return;
  }
}

}  // namespace channel
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CHANNEL_POOL_H_
