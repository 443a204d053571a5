// SPDX-License-Identifier: Apache-2.0
//
// The states of futures that follow others, and of continuations.
#ifndef INFERWIRE_DETAIL_ASYNC_THEN_H_
#define INFERWIRE_DETAIL_ASYNC_THEN_H_

#include <absl/container/inlined_vector.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

#include "inferwire/detail/async/future_state.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/stop.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A result that is there from the start.
template <class T>
class ReadyState final : public FutureState<T> {
 public:
  explicit ReadyState(absl::StatusOr<T> result) : FutureState<T>(std::move(result)) {}
  void CancelSource() override {}
  Executor& executor() override { return AnyThread(); }
};

/// A state whose result may be that of another one: of the future that a continuation returns. In a loop by Then, where
/// each turn returns the future of the next, the first of them follows whichever is the latest, and those in between
/// step out of the way.
template <class U>
class FollowingState : public FutureState<U>, public Follower<U> {
 public:
  using typename FutureState<U>::Given;

  void Follow(Ref<FutureState<U>> inner) override {
    std::unique_lock lock(this->mutex_);
    if (const Ref<Follower<U>> outer = std::exchange(this->follower_, {})) {
      lock.unlock();
      return outer->Follow(std::move(inner));
    }
    auto given = Given::kPassedOn;
    while (given == Given::kPassedOn) {
      const Ref<FutureState<U>> asked = inner;
      given = asked->GiveTo(Ref<Follower<U>>(this), inner);
    }
    if (given == Given::kReady) {
      lock.unlock();
      return this->Set(inner->Take());
    }
    Ref<FutureState<U>> former = std::exchange(inner_, inner);
    const bool cancelled = cancelled_;
    lock.unlock();
    former = {};
    if (cancelled) inner->CancelSource();
  }
  void Arrived(const Ref<FutureState<U>>& inner) override {
    {
      std::lock_guard lock(this->mutex_);
      if (inner_.get() != inner.get()) return;  // who took this one's place asks for it
      inner_ = {};
    }
    this->Set(inner->Take());
  }
  Given GiveTo(Ref<Follower<U>> follower, Ref<FutureState<U>>& inner) override {
    std::lock_guard lock(this->mutex_);
    if (this->result_.has_value()) return Given::kReady;
    std::swap(this->follower_, follower);
    if (!inner_) return Given::kKept;
    inner = std::exchange(inner_, {});
    return Given::kPassedOn;
  }

 protected:
  Ref<FutureState<U>> inner_;  // until it is done
  bool cancelled_ = false;     // under the lock
};

/// The state of `upstream.Then(fn)`.
template <class T, class Fn, class U>
class ThenState final : public FollowingState<U> {
 public:
  ThenState(Ref<FutureState<T>> upstream, std::shared_ptr<Executor> executor, Fn fn)
      : upstream_(std::move(upstream)), executor_(std::move(executor)), fn_(std::make_unique<Fn>(std::move(fn))) {}

  /// `executor`: null for that of `upstream`.
  static Future<U> Chain(Ref<FutureState<T>> upstream, std::shared_ptr<Executor> executor, Fn fn) {
    const bool in_place = executor != nullptr;
    if (!in_place) executor = upstream->SharedExecutor();
    Ref<ThenState> state = MakeRef<ThenState>(upstream, std::move(executor), std::move(fn));
    const auto run = [state] { state->Run(absl::OkStatus()); };
    const auto hop = [state] {
      RunOn(state->executor(), [state](absl::Status taken) { state->Run(std::move(taken)); });
    };
    if (!(in_place ? upstream->OnReady(hop, true) : upstream->OnReady(run, false))) hop();
    return Future<U>(std::move(state));
  }

  void CancelSource() override { CancelAll(Ref<FutureSource>(this)); }
  void CancelStep(FutureSource::Sources& next) override {
    {
      std::lock_guard lock(this->mutex_);
      this->cancelled_ = true;
    }
    WaitsFor(next);
  }
  void WaitsFor(FutureSource::Sources& next) override {
    std::lock_guard lock(this->mutex_);
    if (this->inner_) {
      next.push_back(this->inner_);
    } else if (upstream_) {
      next.push_back(upstream_);
    }
  }
  Executor& executor() override { return *executor_; }
  std::shared_ptr<Executor> SharedExecutor() override { return executor_; }
  bool NeedsExecutor() override { return true; }
  bool Answered() override {
    std::unique_lock lock(this->mutex_);
    if constexpr (kReturnsFuture) {
      const Ref<FutureState<U>> inner = this->inner_;
      lock.unlock();
      return inner && inner->Answered();
    } else {
      const Ref<FutureState<T>> upstream = upstream_;
      lock.unlock();
      return !upstream || upstream->Answered();
    }
  }
  /// A future that the continuation is to return may.
  std::optional<bool> Lends() const override { return kReturnsFuture ? std::make_optional(true) : std::nullopt; }
  void AbandonStep(FutureSource::Sources& next) override {
    FutureState<U>::Forget();
    std::unique_ptr<Fn> unused;
    std::unique_lock lock(this->mutex_);
    this->cancelled_ = abandoned_ = true;
    unused = std::move(fn_);
    // A continuation that drops its own future must not wait for itself, nor two that drop each other's.
    if (running_ != std::thread::id() && running_ != std::this_thread::get_id()) {
      const UserCodeWait wait(running_);
      if (wait.may()) idle_.wait(lock, [this] { return running_ == std::thread::id(); });
    }
    while (const Ref<FutureState<U>> inner = std::exchange(this->inner_, {})) {
      lock.unlock();
      detail::Abandon(inner);  // meanwhile another may have come in its place
      lock.lock();
    }
    if (upstream_) next.push_back(std::exchange(upstream_, {}));
  }

 private:
  static constexpr bool kReturnsFuture = kIsFuture<std::invoke_result_t<Fn, absl::StatusOr<T>>>;

  void Run(absl::Status taken) {
    std::unique_lock lock(this->mutex_);
    const Ref<FutureState<T>> upstream = std::exchange(upstream_, {});
    std::unique_ptr<Fn> fn = std::move(fn_);
    if (abandoned_ || fn == nullptr) return;
    running_ = std::this_thread::get_id();
    lock.unlock();
    if (upstream->refused()) taken = upstream->Take().status();
    if (!taken.ok()) {
      fn = nullptr;
      Leave();
      return this->Set(std::move(taken));
    }
    using R = std::invoke_result_t<Fn, absl::StatusOr<T>>;
    static constexpr std::string_view kName = "a continuation";
    if constexpr (kIsFuture<R>) {
      absl::StatusOr<R> inner = InvokeUser(kName, [&] { return (*std::move(fn))(upstream->Take()); });
      fn = nullptr;
      lock.lock();
      const bool wanted = !abandoned_;
      lock.unlock();
      if (!inner.ok()) {
        this->Set(inner.status());
      } else if (wanted) {
        Follow(FutureAccess::Release(*std::move(inner)));
      } else {
        inner = R();  // dropped
      }
      Leave();  // behind, since who drops this waits for what it returned, too
    } else {
      absl::StatusOr<U> result = InvokeUser(kName, [&]() -> absl::StatusOr<U> {
        if constexpr (std::is_void_v<R>) {
          (*std::move(fn))(upstream->Take());
          return U();
        } else if constexpr (std::is_same_v<R, absl::Status>) {
          if (absl::Status status = (*std::move(fn))(upstream->Take()); !status.ok()) return status;
          return U();
        } else {
          return (*std::move(fn))(upstream->Take());
        }
      });
      fn = nullptr;
      Leave();
      this->Set(std::move(result));
    }
  }
  void Leave() {
    std::lock_guard lock(this->mutex_);
    running_ = std::thread::id();
    idle_.notify_all();
  }
  void Follow(Ref<FutureState<U>> inner) override {
    if (!inner) return this->Set(detail::FailedPreconditionError("the continuation returned an empty future"));
    FollowingState<U>::Follow(std::move(inner));
  }

  std::condition_variable idle_;
  Ref<FutureState<T>> upstream_;  // until it is done
  const std::shared_ptr<Executor> executor_;
  std::unique_ptr<Fn> fn_;
  std::thread::id running_;
  bool abandoned_ = false;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ASYNC_THEN_H_
