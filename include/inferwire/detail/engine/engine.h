// SPDX-License-Identifier: Apache-2.0
//
// What all calls of a client share: channels, policies, threads, and the list of calls in flight.
#ifndef INFERWIRE_DETAIL_ENGINE_ENGINE_H_
#define INFERWIRE_DETAIL_ENGINE_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/affinities.h"
#include "inferwire/detail/engine/runtime.h"
#include "inferwire/detail/policy/budget.h"
#include "inferwire/detail/policy/hedge.h"
#include "inferwire/detail/policy/latency.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// A call in flight, as the client's list of them sees it.
class Cancellable : public virtual detail::RefCounted {
 public:
  /// Ends the call with `why` unless it has ended. Any thread.
  virtual void Cancel(absl::Status why) = 0;

 private:
  friend class Engine;
  Cancellable* previous_ = nullptr;
  Cancellable* next_ = nullptr;
};

/// Numbers of calls and attempts since the client was made.
struct Counts {
  std::atomic<std::uint64_t> calls{0}, ended{0}, failed{0}, attempts{0}, retries{0}, hedges{0};
};

/// Something that follows a client's targets for as long as the client lives.
class Follower {
 public:
  virtual ~Follower() = default;
  /// They have changed.
  virtual void Update() = 0;
  /// They are of no interest any more.
  virtual void Stop() = 0;
};

/// Kept alive by the client and by every call in flight. Safe from any thread.
class Engine {
 public:
  static std::shared_ptr<Engine> Make(ClientOptions options, channel::Connector connector) {
    return {new Engine(std::move(options), std::move(connector)), [](Engine* engine) {
              if (!engine->foreign()) delete engine;  // else its channels would close the parent's connections
            }};
  }

  Engine(ClientOptions options, channel::Connector connector)
      : options_(std::move(options)),
        connector_(std::move(connector)),
        pool_(connector_.Connect(options_.targets), options_.target_order, options_.outliers),
        bounds_loans_(AllBoundLoans(options_.targets)),
        random_(std::random_device{}()),
        retry_budget_(options_.retry_budget.ratio, options_.retry_budget.min_per_second, Now()),
        hedge_budget_(options_.hedge.value_or(HedgePolicy()).max_ratio, 0, Now()) {}

  /// Whether it came along from the process that forked this one. Nothing else is to be asked of it then.
  bool foreign() const { return origin_.foreign(); }
  const ClientOptions& options() const { return options_; }
  channel::Pool& pool() { return pool_; }
  const channel::Connector& connector() const { return connector_; }
  Counts& counts() { return counts_; }
  Affinities& affinities() { return affinities_; }
  /// Whether a connection whose peer takes nothing more is closed in time: by TCP_USER_TIMEOUT, which only Linux has,
  /// and only TCP. Where it is not, memory had better not be lent.
  bool bounds_loans() const { return bounds_loans_.load(std::memory_order_relaxed); }
  void SetTargets(const std::vector<std::string>& targets) {
    bounds_loans_ = bounds_loans() && AllBoundLoans(targets);
    pool_.Replace(connector_.Connect(targets), Now());
    if (follower_ != nullptr) follower_->Update();
  }
  /// Before the first call.
  void Follow(std::unique_ptr<Follower> follower) { follower_ = std::move(follower); }

  /// What calls count their time by; the machine's where it is null.
  Clock* clock() const { return options_.clock.get(); }
  /// Where the clock throws time stands still, and `fault` says so.
  TimePoint Now(absl::Status* fault = nullptr) const {
    if (clock() == nullptr) return engine::Now();
    absl::StatusOr<TimePoint> now = detail::InvokeUser("Clock::Now", [this] { return clock()->Now(); });
    if (!now.ok()) {
      if (fault != nullptr) *fault = std::move(now).status();
      return latest_.load(std::memory_order_relaxed);
    }
    latest_.store(*now, std::memory_order_relaxed);
    return *now;
  }

  policy::Budget& retry_budget() { return retry_budget_; }
  policy::Budget& hedge_budget() { return hedge_budget_; }

  /// The latencies of late of a method, named by Rpc<>::path(), which lives as long as the process.
  policy::LatencyHistogram& Latencies(const std::string& path) {
    std::lock_guard lock(latencies_mutex_);
    return latencies_[&path];
  }

  /// What layers above keep for as long as the client lives, made when it is first asked for.
  std::shared_ptr<void> Kept(const void* key, std::shared_ptr<void> (*make)()) {
    std::lock_guard lock(kept_mutex_);
    std::shared_ptr<void>& kept = kept_[key];
    if (kept == nullptr) kept = make();
    return kept;
  }

  /// Uniform in [0, 1): splitmix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014), which needs no lock. INTERNAL where the
  /// user's function throws; what it gives beyond the bounds is taken for the nearest within.
  absl::StatusOr<double> Random() {
    if (options_.random) {
      absl::StatusOr<double> drawn = detail::InvokeUser("ClientOptions::random", options_.random);
      if (drawn.ok()) *drawn = *drawn > 0 ? (std::min)(*drawn, 1 - 0x1p-53) : 0;  // what is no number, too
      return drawn;
    }
    std::uint64_t z = random_.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed) + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

  /// A loop that is turned for calls nobody blocks on. The threads start with the first one.
  Loop& AsyncLoop() { return foreign() ? idle_loop_ : runtime().NextLoop(); }

  /// Where replies are decoded that would hold up a loop.
  Executor& decoders() { return runtime().decoders(); }

  /// Where continuations run.
  Executor& executor() {
    if (foreign()) return detail::OfThisProcess<InlineExecutor>();
    std::call_once(executor_once_,
                   [this] { executor_ = options_.executor != nullptr ? options_.executor : ThreadPool::Shared(); });
    return *executor_;
  }

  /// False once the client was shut down; the call is then not to be started.
  bool Register(Cancellable& call) {
    std::lock_guard lock(mutex_);
    if (shut_down_) return false;
    call.next_ = std::exchange(calls_, &call);
    if (call.next_ != nullptr) call.next_->previous_ = &call;
    return true;
  }
  /// Does nothing for a call that is not registered.
  void Unregister(Cancellable& call) {
    std::lock_guard lock(mutex_);
    if (call.previous_ == nullptr && calls_ != &call) return;
    (call.previous_ != nullptr ? call.previous_->next_ : calls_) = call.next_;
    if (call.next_ != nullptr) call.next_->previous_ = call.previous_;
    call.previous_ = call.next_ = nullptr;
  }

  /// Ends all calls in flight with CANCELLED; later ones are refused.
  void Shutdown() {
    if (foreign()) return;
    std::vector<detail::Ref<Cancellable>> calls;
    {
      std::lock_guard lock(mutex_);
      shut_down_ = true;
      // Who is on the list is referred to by someone else until it leaves.
      for (Cancellable* call = calls_; call != nullptr; call = call->next_) calls.emplace_back(call);
    }
    for (const detail::Ref<Cancellable>& call : calls) call->Cancel(detail::CancelledError("the client was shut down"));
    if (follower_ != nullptr) follower_->Stop();
  }

 private:
  Runtime& runtime() {
    std::call_once(runtime_once_, [this] { runtime_ = Runtime::Shared(); });
    return *runtime_;
  }
  static bool AllBoundLoans(const std::vector<std::string>& targets) {
#if defined(__linux__)
    return std::none_of(targets.begin(), targets.end(),
                        [](const std::string& target) { return target.starts_with("unix"); });
#else
    return targets.empty();
#endif
  }

  const detail::OfOneProcess origin_;
  Loop& idle_loop_ = detail::OfThisProcess<Loop>();  // nobody turns or locks it: for calls that are refused
  const ClientOptions options_;
  mutable std::atomic<TimePoint> latest_{TimePoint()};  // that the clock gave
  const channel::Connector connector_;
  channel::Pool pool_;
  std::atomic<bool> bounds_loans_;
  Counts counts_;
  Affinities affinities_;
  std::unique_ptr<Follower> follower_;
  std::atomic<std::uint64_t> random_;
  policy::Budget retry_budget_, hedge_budget_;
  std::mutex latencies_mutex_;
  std::unordered_map<const std::string*, policy::LatencyHistogram> latencies_;
  std::mutex kept_mutex_;
  std::unordered_map<const void*, std::shared_ptr<void>> kept_;
  std::once_flag runtime_once_, executor_once_;
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<Executor> executor_;
  std::mutex mutex_;
  Cancellable* calls_ = nullptr;
  bool shut_down_ = false;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_ENGINE_H_
