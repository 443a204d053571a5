// SPDX-License-Identifier: Apache-2.0
//
// The connections to one target: how many there are, which one a call takes, and who shares them.
#ifndef INFERWIRE_DETAIL_CHANNEL_ENDPOINT_H_
#define INFERWIRE_DETAIL_CHANNEL_ENDPOINT_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/credentials.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/shared_by_key.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/certificates.h"
#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/load.h"
#include "inferwire/detail/channel/target.h"
#include "inferwire/options/pool_policy.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace channel {

/// INVALID_ARGUMENT naming the field that makes no sense, OK otherwise.
inline absl::Status Validate(const PoolPolicy& policy) {
  if (policy.min_channels < 1 || policy.max_channels < policy.min_channels || policy.max_channels > 64) {
    return detail::InvalidArgumentError(detail::Cat("pool.min_channels is ", policy.min_channels, " and max_channels ",
                                                    policy.max_channels,
                                                    "; expected 1 to 64, and max_channels no less than min_channels"));
  }
  if (policy.max_streams_per_channel < 1) {
    return detail::InvalidArgumentError(
        detail::Cat("pool.max_streams_per_channel is ", policy.max_streams_per_channel, "; expected at least 1"));
  }
  if (policy.idle_timeout < absl::Seconds(1)) {
    return detail::InvalidArgumentError(
        detail::Cat("pool.idle_timeout is ", absl::FormatDuration(policy.idle_timeout), "; expected at least 1s"));
  }
  return absl::OkStatus();
}

/// The connections to one target. Shared by all clients for which target, credentials and arguments agree. Safe from
/// any thread; picking takes no lock unless it opens a connection.
class Endpoint {
 public:
  /// Makes one more connection; `spare` if it is beyond those that are kept.
  using Connect = std::function<std::shared_ptr<Channel>(bool spare, TimePoint now)>;

  /// `renewals` counts what makes connections outdated that were made before.
  Endpoint(std::string target, const PoolPolicy& policy, Connect connect,
           std::shared_ptr<const std::atomic<int>> renewals = std::make_shared<std::atomic<int>>(0))
      : target_(std::move(target)),
        policy_(policy),
        connect_(std::move(connect)),
        renewals_(std::move(renewals)),
        active_(policy.min_channels) {}

  const std::string& target() const { return target_; }
  Load& load() { return load_; }
  int active() const { return active_.load(std::memory_order_relaxed); }

  /// The less busy of two connections, or one more where all are full; it carries a call from now on, until Leave.
  /// `unit` is uniform in [0, 1). Begins what `load` counts, too; `timed` is for it.
  Channel& Enter(double unit, TimePoint now, bool timed) {
    load_.Begin(timed);
    // A channel that is replaced stays until nobody can be about to use it.
    entering_.fetch_add(1);
    Channel& channel = Fresh(PickSlot(unit, now), now);
    channel.Begin();
    entering_.fetch_sub(1);
    return channel;
  }
  void Leave(Channel& channel, bool timed) {
    load_.End(timed);
    if (channel.End() && replaced_.load(std::memory_order_relaxed)) Reap();
  }

  /// A connection may be dead: another one, which is used for nothing else until GiveWay, and gone with Trust. None
  /// where the old one is hardly older than a call takes, so that a path that is slow, or a server that answers nobody,
  /// does not have connections come and go with each call.
  std::shared_ptr<Channel> Beside(Channel& doubted, TimePoint now) {
    std::lock_guard lock(mutex_);
    if (doubted.successor == nullptr && Between(doubted.made(), now) >= absl::Milliseconds(500)) {
      const int renewal = renewals_->load(std::memory_order_acquire);  // or newer
      doubted.successor = connect_(/*spare=*/false, now);
      doubted.successor->renewal = renewal;
    }
    return doubted.successor;
  }
  /// It is dead: the one beside it takes its place. Those that are on it may stay there to their end.
  void GiveWay(const Channel& dead) {
    std::vector<std::shared_ptr<Channel>> gone;  // after the lock is released
    std::lock_guard lock(mutex_);
    std::atomic<Channel*>* const slot = SlotOf(dead);
    if (slot == nullptr || dead.successor == nullptr) return;  // it has already, or had come to its age
    owned_.push_back(dead.successor);
    slot->store(dead.successor.get());
    replaced_.store(true, std::memory_order_relaxed);
    gone = Unused();
  }
  /// It is not: nothing needs to be beside it.
  void Trust(Channel& doubted) {
    std::shared_ptr<Channel> gone;  // after the lock is released
    std::lock_guard lock(mutex_);
    if (SlotOf(doubted) != nullptr) gone = std::exchange(doubted.successor, nullptr);
  }
  /// What was entered goes by the one beside it, if there is one; else null, and it stays.
  std::shared_ptr<Channel> MoveBeside(Channel& doubted) {
    std::shared_ptr<Channel> beside;
    {
      std::lock_guard lock(mutex_);
      beside = doubted.successor;
    }
    if (beside == nullptr) return nullptr;
    beside->Begin();
    if (doubted.End() && replaced_.load(std::memory_order_relaxed)) Reap();
    return beside;
  }

  struct Connections {
    int open = 0;   ///< made and in use, whether or not they are connected
    int ready = 0;  ///< of those, the connected ones
  };
  Connections connections() {
    std::lock_guard lock(mutex_);
    Connections out;
    for (int i = 0; i < active(); ++i) {
      const Channel* const channel = slots_[static_cast<std::size_t>(i)].load(std::memory_order_relaxed);
      if (channel == nullptr) continue;
      ++out.open;
      if (channel->state() == GRPC_CHANNEL_READY) ++out.ready;
    }
    return out;
  }

  /// Begins to connect what is kept open.
  void StartConnecting(TimePoint now) {
    for (const std::shared_ptr<Channel>& channel : Kept(now)) channel->StartConnecting();
  }
  /// Waits until what is kept open is connected; false if that takes too long.
  bool WaitUntilConnected(std::chrono::system_clock::time_point deadline, TimePoint now) {
    bool all = true;
    for (const std::shared_ptr<Channel>& channel : Kept(now)) all = channel->WaitForConnected(deadline) && all;
    return all;
  }
  /// Why what is kept open is not connected; "" if that is not known. Blocks for a tenth of a second.
  std::string WhyNotConnected(TimePoint now) {
    for (const std::shared_ptr<Channel>& channel : Kept(now)) {
      if (std::string why = channel->WhyNotConnected(std::chrono::milliseconds(100)); !why.empty()) {
        SetConnectError(why);
        return why;
      }
    }
    return {};
  }

  /// Why the latest attempt to connect failed; "" after one that did not, or none.
  void SetConnectError(std::string why) {
    std::lock_guard lock(error_mutex_);
    failing_.store(!why.empty(), std::memory_order_relaxed);
    connect_error_.swap(why);
  }
  /// Costs next to nothing.
  void Connected() {
    if (failing_.load(std::memory_order_relaxed)) SetConnectError({});
  }
  std::string connect_error() const {
    std::lock_guard lock(error_mutex_);
    return connect_error_;
  }

 private:
  int PickSlot(double unit, TimePoint now) {
    const int count = active_.load(std::memory_order_acquire);
    int picked = 0;
    if (count > 1) {
      const int pairs = count * (count - 1);
      const int pair = (std::min)(static_cast<int>(unit * pairs), pairs - 1);
      const int first = pair / (count - 1);
      const int second = (first + 1 + pair % (count - 1)) % count;
      picked = At(first, now).in_flight() <= At(second, now).in_flight() ? first : second;
    }
    if (At(picked, now).in_flight() < policy_.max_streams_per_channel) {
      if (count > policy_.min_channels) MayShrink(count, now);
      return picked;
    }
    for (int i = 0; i < count; ++i) {
      if (At(i, now).in_flight() < At(picked, now).in_flight()) picked = i;
    }
    if (At(picked, now).in_flight() < policy_.max_streams_per_channel || count == policy_.max_channels) return picked;
    int expected = count;
    active_.compare_exchange_strong(expected, count + 1,
                                    std::memory_order_acq_rel);  // another one may have been quicker
    needed_.store(now, std::memory_order_relaxed);
    return count;
  }
  Channel& At(int number, TimePoint now) {
    std::atomic<Channel*>& slot = slots_[static_cast<std::size_t>(number)];
    if (Channel* const channel = slot.load()) return *channel;
    std::lock_guard lock(mutex_);
    if (slot.load(std::memory_order_relaxed) == nullptr) Make(number, slot, now);
    return *slot.load(std::memory_order_relaxed);
  }
  // The same, or its successor where it has come to its age, or the certificates to theirs.
  Channel& Fresh(int number, TimePoint now) {
    Channel& channel = At(number, now);
    const bool fresh = now < channel.expires() && channel.renewal == renewals_->load(std::memory_order_relaxed);
    return fresh ? channel : Replace(number, channel, now);
  }
  // What is kept open, for those who look at it for longer than a call takes: shared, since calls may replace it
  // meanwhile.
  std::vector<std::shared_ptr<Channel>> Kept(TimePoint now) {
    entering_.fetch_add(1);
    std::vector<std::shared_ptr<Channel>> out;
    for (int i = 0; i < policy_.min_channels; ++i) out.push_back(Fresh(i, now).shared_from_this());
    entering_.fetch_sub(1);
    return out;
  }
  Channel& Replace(int number, const Channel& expired, TimePoint now) {
    std::atomic<Channel*>& slot = slots_[static_cast<std::size_t>(number)];
    std::vector<std::shared_ptr<Channel>> gone;  // after the lock is released
    std::lock_guard lock(mutex_);
    if (slot.load(std::memory_order_relaxed) == &expired) {  // else another one was quicker
      Make(number, slot, now);
      replaced_.store(true, std::memory_order_relaxed);
      gone = Unused();
    }
    return *slot.load(std::memory_order_relaxed);
  }
  void Make(int number, std::atomic<Channel*>& slot, TimePoint now) {
    const int renewal = renewals_->load(std::memory_order_acquire);  // or newer
    owned_.push_back(connect_(number >= policy_.min_channels, now));
    owned_.back()->renewal = renewal;
    slot.store(owned_.back().get(), std::memory_order_seq_cst);
  }
  std::atomic<Channel*>* SlotOf(const Channel& channel) {
    const auto slot = std::find_if(slots_.begin(), slots_.end(), [&](const std::atomic<Channel*>& one) {
      return one.load(std::memory_order_relaxed) == &channel;
    });
    return slot != slots_.end() ? &*slot : nullptr;
  }
  void Reap() {
    std::vector<std::shared_ptr<Channel>> gone;
    std::lock_guard lock(mutex_);
    gone = Unused();
  }
  // Those that are in no slot and carry nothing, unless someone may just have read a slot.
  std::vector<std::shared_ptr<Channel>> Unused() {
    std::vector<std::shared_ptr<Channel>> out;
    if (entering_.load() != 0) return out;  // asked first: who comes later finds them in no slot
    for (std::shared_ptr<Channel>& channel : owned_) {
      const bool in_slot = std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) {
        return slot.load(std::memory_order_relaxed) == channel.get();
      });
      if (!in_slot && channel->in_flight() == 0) out.push_back(std::move(channel));
    }
    std::erase(owned_, nullptr);
    return out;
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
  const std::shared_ptr<const std::atomic<int>> renewals_;
  std::atomic<int> active_;
  std::atomic<int> entering_{0};
  std::atomic<bool> replaced_{false};           // some channel was, and may wait for its end
  std::atomic<TimePoint> needed_{TimePoint()};  // when the last connection was, last
  Load load_;
  std::array<std::atomic<Channel*>, 64> slots_{};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Channel>> owned_;
  std::atomic<bool> failing_{false};
  mutable std::mutex error_mutex_;
  std::string connect_error_;
};

/// Gives a client its endpoints: those that are there already for the same target, credentials and arguments, or new
/// ones.
class Connector {
 public:
  /// `options.use_proxy` holds for targets that are not on this machine.
  Connector(const Credentials::Built& credentials, const PoolPolicy& policy, const ConnectionOptions& options,
            int max_receive_bytes, bool compressed = false)
      : credentials_(credentials.credentials),
        source_(credentials.source),
        policy_(policy),
        options_(options),
        arguments_(Arguments(max_receive_bytes, options, credentials.server_name)),
        compressed_(compressed),
        key_(detail::Cat(max_receive_bytes, compressed ? " compressed " : " ", policy.min_channels, " ",
                         policy.max_channels, " ", policy.max_streams_per_channel, " ",
                         absl::FormatDuration(policy.idle_timeout), " ", IdentityOf(options), "\n",
                         credentials.identity)) {}

  std::vector<std::shared_ptr<Endpoint>> Connect(const std::vector<std::string>& targets) const {
    std::vector<std::shared_ptr<Endpoint>> out;
    for (const std::string& target : targets) {
      std::shared_ptr<Endpoint> endpoint =
          detail::SharedByKey<Endpoint>::Instance().Get(detail::Cat(target, "\n", key_), [&] {
            return std::make_shared<Endpoint>(
                target, policy_,
                [target, policy = policy_, options = OptionsFor(target), fixed = credentials_, source = source_,
                 base = arguments_, compressed = compressed_](bool spare, TimePoint now) {
                  grpc::ChannelArguments arguments = base;
                  // gRPC has channels with equal arguments share a connection.
                  static std::atomic<int> connections{0};
                  const int number = ++connections;
                  arguments.SetInt("inferwire.connection", number);
                  // A spare one, out of use, is closed by gRPC. Not asked for where it is not needed: each call pays
                  // for it.
                  if (spare) arguments.SetInt("grpc.client_idle_timeout_ms", Milliseconds(policy.idle_timeout));
                  // Connections made together are not to end together: theirs are spread by the golden ratio.
                  const double spread = 0.9 + 0.2 * std::fmod(number * 0.6180339887498949, 1.0);
                  return std::make_shared<Channel>(target, source != nullptr ? source->credentials() : fixed, arguments,
                                                   options, now, After(now, options.max_age * spread), compressed);
                },
                source_ != nullptr ? source_->renewals() : std::make_shared<std::atomic<int>>(0));
          });
      // A target that is named twice is one target.
      if (std::find(out.begin(), out.end(), endpoint) == out.end()) out.push_back(std::move(endpoint));
    }
    return out;
  }

 private:
  ConnectionOptions OptionsFor(const std::string& target) const {
    ConnectionOptions out = options_;
    out.use_proxy = out.use_proxy && !TargetSyntax::Local(target);
    return out;
  }

  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const std::shared_ptr<const detail::CertificateSource> source_;
  const PoolPolicy policy_;
  const ConnectionOptions options_;
  const grpc::ChannelArguments arguments_;
  const bool compressed_;  // whether answers are taken so, unless a call says otherwise
  const std::string key_;
};

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_ENDPOINT_H_
