// SPDX-License-Identifier: Apache-2.0
//
// A result that comes later: waited for, continued, awaited, or dropped, which cancels.
#ifndef INFERWIRE_FUTURE_H_
#define INFERWIRE_FUTURE_H_

#include <absl/container/inlined_vector.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <coroutine>
#include <cstddef>
#include <future>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/detail/async/future_state.h"
#include "inferwire/detail/async/then.h"
#include "inferwire/detail/async/when.h"
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

/// The result of an asynchronous call: an absl::StatusOr<T> that comes once. Move-only; used by one thread at a time.
/// Dropping it cancels the call, and when the destructor returns nothing of a continuation runs any more.
template <class T>
class [[nodiscard("dropping a future cancels its call")]] Future {
 public:
  using value_type = T;

  Future() = default;
  explicit Future(detail::Ref<detail::FutureState<T>> state) : state_(std::move(state)) {}
  Future(Future&&) noexcept = default;
  Future& operator=(Future&& other) noexcept {
    if (this != &other) {
      Drop();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~Future() { Drop(); }

  /// Whether there is anything to wait for: false after Get, Then, Detach, or a move.
  bool valid() const { return static_cast<bool>(state_); }
  /// Whether Get would not block.
  bool Ready() const { return state_ && state_->Ready(); }
  /// Waits for at most `timeout`; whether the result is there. False at once where Get would not wait.
  bool Wait(absl::Duration timeout) const {
    if (!state_ || state_->Ready()) return Ready();
    if (timeout <= absl::ZeroDuration() || !state_->MayBlock("Wait").ok()) return false;
    detail::Help(*state_);
    return state_->Wait(timeout);
  }
  /// Waits for the result. FAILED_PRECONDITION if there is none to come; or if it is not there yet and the thread is
  /// one that it needs: in a continuation on the same executor, or where InlineExecutor runs it. The call is cancelled
  /// then.
  absl::StatusOr<T> Get() && {
    if (!state_) return detail::FailedPreconditionError("the future is empty: its result was taken or moved away");
    if (!state_->Ready()) {
      if (absl::Status may = state_->MayBlock("Get"); !may.ok()) {
        Drop();
        return may;
      }
      detail::Help(*state_);
    }
    const detail::Ref<detail::FutureState<T>> state = std::exchange(state_, {});
    state->Wait(absl::InfiniteDuration());
    return state->Take();
  }
  template <class U = T>
  absl::StatusOr<U> Get() const& {
    static_assert(!std::is_same_v<T, U>,
                  "inferwire: Get takes the result out of the future; write std::move(future).Get()");
    return absl::StatusOr<U>();
  }
  /// Ends the call with CANCELLED, which is then the result, unless it has ended. From any thread while the future
  /// lives.
  void Cancel() {
    if (state_ && !state_->foreign()) state_->CancelSource();
  }
  /// Lets the call run on with nobody to take its result.
  void Detach() && { state_ = {}; }
  template <class U = T>
  void Detach() const& {
    static_assert(!std::is_same_v<T, U>, "inferwire: Detach uses the future up; write std::move(future).Detach()");
  }

  /// The same as a std::future, for code that knows those only. Dropping it cancels nothing.
  std::future<absl::StatusOr<T>> ToStd() && {
    auto promise = std::make_shared<std::promise<absl::StatusOr<T>>>();
    std::future<absl::StatusOr<T>> out = promise->get_future();
    const detail::Ref<detail::FutureState<T>> state = std::exchange(state_, {});
    if (!state) {
      promise->set_value(detail::FailedPreconditionError("the future is empty: its result was taken or moved away"));
    } else if (!state->OnReady([promise, state] { promise->set_value(state->Take()); }, /*in_place=*/true)) {
      promise->set_value(state->Take());
    }
    return out;
  }
  template <class U = T>
  std::future<absl::StatusOr<U>> ToStd() const& {
    static_assert(!std::is_same_v<T, U>, "inferwire: ToStd uses the future up; write std::move(future).ToStd()");
    return {};
  }

  /// A future of what `fn` makes of this one's result. `fn` takes an absl::StatusOr<T> and runs on the client's
  /// executor; it may return a value, a StatusOr, a Future (whose result is then waited for), a Status, or nothing.
  template <class Fn>
  auto Then(Fn fn) &&;
  /// The same on an executor of your choice, which is that of what follows, too.
  template <class Fn>
  auto Then(std::shared_ptr<Executor> executor, Fn fn) &&;
  // Not const, since an rvalue whose arguments need a conversion would then be ambiguous.
  template <class Fn, class... More>
  Future<T> Then(Fn&&, More&&...) & {
    static_assert(std::is_void_v<Fn>, "inferwire: Then uses the future up; write std::move(future).Then(...)");
    return {};
  }

  auto operator co_await() && { return Awaiter{std::exchange(state_, {})}; }
  auto operator co_await() & { return std::move(*this).operator co_await(); }

 private:
  template <class>
  friend class Future;
  friend struct FutureAccess;

  struct CancelOnStop {
    detail::FutureState<T>* state;
    void operator()() const { detail::Ref<detail::FutureState<T>>(state)->CancelSource(); }
  };
  // The awaiting coroutine's frame holds it: destroying a suspended coroutine drops the future.
  struct Awaiter {
    Future future;
    detail::OnStop<CancelOnStop> on_stop;
    absl::Status refused;
    explicit Awaiter(detail::Ref<detail::FutureState<T>> state) : future(std::move(state)) {}
    bool await_ready() const { return !future.valid() || future.Ready(); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      // The state may be all that is left of us once the continuation is registered.
      const detail::Ref<detail::FutureState<T>> state = future.state_;
      std::shared_ptr<Executor> elsewhere;
      if (detail::SyncWaiter* const waiter = detail::WaiterOf(handle)) {
        refused = state->MayBlock("SyncWait", waiter->thread());
        if (!refused.ok()) return false;
        detail::Help(*state);
        elsewhere = waiter->InPlaceOf(state->executor());
      }
      on_stop.Arm(handle, CancelOnStop{state.get()});
      return state->OnReady([handle] { handle.resume(); }, std::move(elsewhere));
    }
    absl::StatusOr<T> await_resume() {
      on_stop.Disarm();
      if (!refused.ok()) {
        future.Drop();
        return refused;
      }
      return std::move(future).Get();
    }
  };

  void Drop() {
    if (state_ && !state_->foreign()) return detail::Abandon(std::exchange(state_, {}));
    state_ = {};
  }

  detail::Ref<detail::FutureState<T>> state_;
};

template <class T>
template <class Fn>
auto Future<T>::Then(Fn fn) && {
  return std::move(*this).Then(nullptr, std::move(fn));
}

template <class T>
template <class Fn>
auto Future<T>::Then(std::shared_ptr<Executor> executor, Fn fn) && {
  static_assert(
      std::is_invocable_v<Fn, absl::StatusOr<T>>,
      "inferwire: Then takes a function of an absl::StatusOr<T>, such as [](absl::StatusOr<T> result) { ... }");
  using U = typename detail::Flatten<std::invoke_result_t<Fn, absl::StatusOr<T>>>::Type;
  detail::Ref<detail::FutureState<T>> upstream = std::exchange(state_, {});
  if (!upstream)
    upstream = detail::MakeRef<detail::ReadyState<T>>(detail::FailedPreconditionError("the future is empty"));
  return detail::ThenState<T, Fn, U>::Chain(std::move(upstream), std::move(executor), std::move(fn));
}

/// A future that is ready.
template <class T>
Future<T> MakeReadyFuture(absl::StatusOr<T> result) {
  return Future<T>(detail::MakeRef<detail::ReadyState<T>>(std::move(result)));
}

/// Ready when all are; each has its own status. Dropping or cancelling it cancels them all.
template <class T>
Future<std::vector<absl::StatusOr<T>>> WhenAll(std::vector<Future<T>> futures) {
  using Out = std::vector<absl::StatusOr<T>>;
  if (futures.empty()) return MakeReadyFuture<Out>(Out());
  auto state = detail::MakeRef<detail::AllState<Out>>(Out(futures.size()), futures.size());
  for (std::size_t i = 0; i < futures.size(); ++i) {
    state->template Add<T>(FutureAccess::Release(std::move(futures[i])), state->slots()[i]);
  }
  state->Arrived();
  return Future<Out>(std::move(state));
}

/// As above, for futures of different types.
template <class... T>
  requires(sizeof...(T) > 0)
Future<std::tuple<absl::StatusOr<T>...>> WhenAll(Future<T>... futures) {
  using Out = std::tuple<absl::StatusOr<T>...>;
  auto state = detail::MakeRef<detail::AllState<Out>>(Out(), sizeof...(T));
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (state->template Add<T>(FutureAccess::Release(std::move(futures)), std::get<I>(state->slots())), ...);
  }(std::index_sequence_for<T...>());
  state->Arrived();
  return Future<Out>(std::move(state));
}

/// The index and result of the first that is ready, with whatever status; the others are cancelled.
/// INVALID_ARGUMENT for none at all.
template <class T>
Future<std::pair<std::size_t, absl::StatusOr<T>>> WhenAny(std::vector<Future<T>> futures) {
  using Winner = std::pair<std::size_t, absl::StatusOr<T>>;
  std::vector<detail::Ref<detail::FutureState<T>>> sources;
  for (Future<T>& future : futures) {
    if (!future.valid())
      return MakeReadyFuture<Winner>(detail::InvalidArgumentError("WhenAny: one of the futures is empty"));
    sources.push_back(FutureAccess::Release(std::move(future)));
  }
  if (sources.empty())
    return MakeReadyFuture<Winner>(detail::InvalidArgumentError("WhenAny: expected at least one future"));
  auto state = detail::MakeRef<detail::AnyState<T>>(std::move(sources));
  state->Begin();
  return Future<Winner>(std::move(state));
}

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/future.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_FUTURE_H_
