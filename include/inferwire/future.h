// SPDX-License-Identifier: Apache-2.0
//
// A result that comes later: waited for, continued, awaited, or dropped, which cancels.
#ifndef INFERWIRE_FUTURE_H_
#define INFERWIRE_FUTURE_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/process.h"
#include "inferwire/detail/ref.h"
#include "inferwire/detail/stop.h"
#include "inferwire/detail/text.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {

template <class T>
class Future;

namespace detail {

/// What a future's source is to those who do not know its type.
class FutureSource : public virtual RefCounted {
 public:
  /// Ends what the future waits for. Any thread; the end still comes through Set.
  virtual void CancelSource() = 0;
  /// Where continuations run. Asked for when there is one.
  virtual Executor& executor() = 0;
  /// Whether the result takes work on the executor first.
  virtual bool NeedsExecutor() { return false; }
  /// Whether what it waits for has come, and is being understood: no time counts against it any more.
  virtual bool Answered() { return false; }
  /// Whether memory of the caller's is in use until the result is there.
  virtual bool Lends() const { return false; }
  /// Returns when it is not in use any more.
  virtual void AwaitReturn() {}
};

/// What a future and its source share. The source calls Set once; whoever waits is told.
template <class T>
class FutureState : public FutureSource {
 public:
  FutureState() = default;
  explicit FutureState(absl::StatusOr<T> result) : result_(std::move(result)) {}

  /// The future is gone: nothing of its owner's may run or be read when this returns.
  virtual void Abandon() {
    Forget();
    this->CancelSource();
    this->AwaitReturn();
  }

  /// Whether its source is in the process that forked this one. Nothing else is to be done with it then but to take a
  /// result that is there.
  bool foreign() const { return origin_.foreign(); }

  /// FAILED_PRECONDITION where the thread that would wait is one that the result needs.
  absl::Status MayBlock() {
    if (foreign()) return ForkedError();
    const ThreadRole& thread = CurrentThread();
    if (thread.serves_grpc) {
      return absl::FailedPreconditionError(
          "Get would wait for its own thread, which serves gRPC: co_await the future, use Then, or give the client an "
          "executor whose work may block");
    }
    if (thread.executor != nullptr && NeedsExecutor() && thread.executor == &executor()) {
      return absl::FailedPreconditionError(
          "Get in a continuation would wait for the executor that runs it, and may do so for good: co_await the "
          "future, or return it from Then");
    }
    return absl::OkStatus();
  }

  void Set(absl::StatusOr<T> result) {
    const Ref<FutureState> self(this);  // who waits may drop the future as soon as the lock is open
    std::unique_lock lock(mutex_);
    result_.emplace(std::move(result));
    const bool dispatch = continuation_ != nullptr;
    lock.unlock();        // first, or who wakes would wait again
    ready_.notify_all();  // also beside a continuation: whose owner goes may wait for what was lent
    if (dispatch) Dispatch();
  }

  bool Ready() {
    if (foreign()) {
      const std::unique_lock lock(mutex_, std::try_to_lock);  // another thread may have held it as the process forked
      return lock.owns_lock() && result_.has_value();
    }
    std::lock_guard lock(mutex_);
    return result_.has_value();
  }
  bool Wait(absl::Duration timeout) {
    if (foreign()) return Ready();
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return result_.has_value(); };
    // Beyond a year a wait is endless; the clock's own type would overflow.
    if (timeout > absl::Hours(24 * 365)) {
      ready_.wait(lock, ready);
      return true;
    }
    return ready_.wait_for(lock, absl::ToChronoNanoseconds(timeout), ready);
  }
  /// After Ready.
  absl::StatusOr<T> Take() {
    if (foreign() && !Ready()) return ForkedError();
    std::lock_guard lock(mutex_);
    return *std::move(result_);
  }

  /// Calls `continuation` once the result is there: on the executor, or, if `in_place`, wherever that is known; false,
  /// and nothing kept, if it is there already.
  bool OnReady(absl::AnyInvocable<void()> continuation, bool in_place) {
    if (foreign()) return false;
    std::lock_guard lock(mutex_);
    if (result_.has_value()) return false;
    in_place_ = in_place;
    continuation_ = std::move(continuation);
    return true;
  }
  void Forget() {
    std::unique_lock lock(mutex_);
    const absl::AnyInvocable<void()> gone = std::exchange(continuation_, nullptr);
    lock.unlock();  // what it holds may end here, and come back
  }

 private:
  // The continuation stays until the executor comes to it, so that one forgotten meanwhile does not run.
  void Dispatch() {
    const auto run = [self = Ref<FutureState>(this)] {
      std::unique_lock lock(self->mutex_);
      absl::AnyInvocable<void()> continuation = std::exchange(self->continuation_, nullptr);
      lock.unlock();
      if (continuation) continuation();
    };
    if (in_place_) {
      run();
    } else {
      RunOn(executor(), run);
    }
  }

  const OfOneProcess origin_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::optional<absl::StatusOr<T>> result_;
  absl::AnyInvocable<void()> continuation_;
  bool in_place_ = false;
};

/// What a continuation's return type makes of the future: T for T, StatusOr<T> and Future<T>; monostate for void and
/// Status.
template <class U>
struct Flatten {
  using Type = U;
};
template <class U>
struct Flatten<absl::StatusOr<U>> {
  using Type = U;
};
template <class U>
struct Flatten<Future<U>> {
  using Type = U;
};
template <>
struct Flatten<void> {
  using Type = std::monostate;
};
template <>
struct Flatten<absl::Status> {
  using Type = std::monostate;
};

template <class T>
inline constexpr bool kIsFuture = false;
template <class T>
inline constexpr bool kIsFuture<Future<T>> = true;

/// INTERNAL with the text of the exception that is being handled.
inline absl::Status CaughtError(const char* where) {
#ifdef __cpp_exceptions
  try {
    throw;
  } catch (const std::exception& error) {
    return absl::InternalError(detail::Cat("exception in ", where, ": ", error.what()));
  } catch (...) {
  }
#endif
  return absl::InternalError(detail::Cat("exception in ", where));
}

/// Runs user code; an exception becomes INTERNAL with its text.
template <class T, class Fn>
absl::StatusOr<T> Guard(Fn&& fn) {
#ifdef __cpp_exceptions
  try {
    return std::forward<Fn>(fn)();
  } catch (...) {
    return CaughtError("a continuation");
  }
#else
  return std::forward<Fn>(fn)();
#endif
}

}  // namespace detail

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
  /// Waits for at most `timeout`; whether the result is there.
  bool Wait(absl::Duration timeout) const { return state_ && state_->Wait(timeout); }
  /// Waits for the result. FAILED_PRECONDITION if there is none to come; or if it is not there yet and the thread is
  /// one that it needs: in a continuation on the same executor, or where InlineExecutor runs it. The call is cancelled
  /// then.
  absl::StatusOr<T> Get() && {
    if (!state_) return absl::FailedPreconditionError("the future is empty: its result was taken or moved away");
    if (!state_->Ready()) {
      if (absl::Status may = state_->MayBlock(); !may.ok()) {
        Drop();
        return may;
      }
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

  /// The same as a std::future, for code that knows those only. Dropping it cancels nothing.
  std::future<absl::StatusOr<T>> ToStd() && {
    auto promise = std::make_shared<std::promise<absl::StatusOr<T>>>();
    std::future<absl::StatusOr<T>> out = promise->get_future();
    const detail::Ref<detail::FutureState<T>> state = std::exchange(state_, {});
    if (!state) {
      promise->set_value(absl::FailedPreconditionError("the future is empty: its result was taken or moved away"));
    } else if (!state->OnReady([promise, state] { promise->set_value(state->Take()); }, /*in_place=*/true)) {
      promise->set_value(state->Take());
    }
    return out;
  }

  /// A future of what `fn` makes of this one's result. `fn` takes an absl::StatusOr<T> and runs on the client's
  /// executor; it may return a value, a StatusOr, a Future (whose result is then waited for), a Status, or nothing.
  template <class Fn>
  auto Then(Fn fn) &&;
  /// The same on an executor of your choice, which is that of what follows, too.
  template <class Fn>
  auto Then(std::shared_ptr<Executor> executor, Fn fn) &&;

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
    explicit Awaiter(detail::Ref<detail::FutureState<T>> state) : future(std::move(state)) {}
    bool await_ready() const { return !future.valid() || future.Ready(); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      // The state may be all that is left of us once the continuation is registered.
      const detail::Ref<detail::FutureState<T>> state = future.state_;
      on_stop.Arm(handle, CancelOnStop{state.get()});
      return state->OnReady([handle] { handle.resume(); }, /*in_place=*/false);
    }
    absl::StatusOr<T> await_resume() {
      on_stop.Disarm();
      return std::move(future).Get();
    }
  };

  void Drop() {
    if (state_ && !state_->foreign()) return std::exchange(state_, {})->Abandon();
    state_ = {};
  }

  detail::Ref<detail::FutureState<T>> state_;
};

/// For the library's own sources and combinators.
struct FutureAccess {
  template <class T>
  static detail::Ref<detail::FutureState<T>> Release(Future<T>&& future) {
    return std::exchange(future.state_, {});
  }
};

namespace detail {

/// For continuations of what was never asynchronous.
inline Executor& AnyThread() {
  static InlineExecutor* const executor = new InlineExecutor;
  return *executor;
}

/// A result that is there from the start.
template <class T>
class ReadyState final : public FutureState<T> {
 public:
  explicit ReadyState(absl::StatusOr<T> result) : FutureState<T>(std::move(result)) {}
  void CancelSource() override {}
  Executor& executor() override { return AnyThread(); }
};

/// The state of `upstream.Then(fn)`.
template <class T, class Fn, class U>
class ThenState final : public FutureState<U> {
 public:
  ThenState(Ref<FutureState<T>> upstream, std::shared_ptr<Executor> executor, Fn fn)
      : upstream_(std::move(upstream)), given_executor_(std::move(executor)), fn_(std::move(fn)) {}

  /// `executor`: null for that of `upstream`.
  static Future<U> Chain(Ref<FutureState<T>> upstream, std::shared_ptr<Executor> executor, Fn fn) {
    const bool in_place = executor != nullptr;
    Ref<ThenState> state = MakeRef<ThenState>(upstream, std::move(executor), std::move(fn));
    const auto run = [state] { state->Run(); };
    const auto hop = [state] { RunOn(state->executor(), [state] { state->Run(); }); };
    if (!(in_place ? upstream->OnReady(hop, true) : upstream->OnReady(run, false))) hop();
    return Future<U>(std::move(state));
  }

  void CancelSource() override {
    std::unique_lock lock(mutex_);
    const Ref<FutureState<T>> upstream = upstream_;
    const Ref<FutureState<U>> inner = inner_;
    cancelled_ = true;
    lock.unlock();
    if (upstream) upstream->CancelSource();
    if (inner) inner->CancelSource();
  }
  Executor& executor() override { return given_executor_ ? *given_executor_ : source_->executor(); }
  bool NeedsExecutor() override { return true; }
  bool Answered() override {
    if constexpr (kIsFuture<std::invoke_result_t<Fn, absl::StatusOr<T>>>) {
      std::unique_lock lock(mutex_);
      const Ref<FutureState<U>> inner = inner_;
      lock.unlock();
      return inner && inner->Answered();
    } else {
      return source_->Answered();
    }
  }
  /// A future that the continuation is to return may.
  bool Lends() const override { return kIsFuture<std::invoke_result_t<Fn, absl::StatusOr<T>>> || source_->Lends(); }
  void AwaitReturn() override {
    source_->AwaitReturn();
    std::unique_lock lock(mutex_);
    const Ref<FutureState<U>> inner = inner_;
    lock.unlock();
    if (inner) inner->AwaitReturn();
  }

  void Abandon() override {
    FutureState<U>::Forget();
    std::unique_lock lock(mutex_);
    abandoned_ = true;
    [[maybe_unused]] const std::optional<Fn> unused =
        std::exchange(fn_, std::nullopt);  // ends here, not after its owner
    // A continuation that drops its own future must not wait for itself.
    if (running_ != std::this_thread::get_id()) idle_.wait(lock, [this] { return running_ == std::thread::id(); });
    lock.unlock();
    CancelSource();
    AwaitReturn();
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    const Ref<FutureState<T>> upstream = std::exchange(upstream_, {});
    std::optional<Fn> fn = std::exchange(fn_, std::nullopt);
    if (abandoned_ || !fn.has_value()) return;
    running_ = std::this_thread::get_id();
    lock.unlock();
    using R = std::invoke_result_t<Fn, absl::StatusOr<T>>;
    if constexpr (kIsFuture<R>) {
      absl::StatusOr<R> inner = Guard<R>([&]() -> absl::StatusOr<R> { return (*std::move(fn))(upstream->Take()); });
      fn.reset();
      Leave();
      if (inner.ok()) {
        Follow(FutureAccess::Release(*std::move(inner)));
      } else {
        this->Set(inner.status());
      }
    } else {
      absl::StatusOr<U> result = Guard<U>([&]() -> absl::StatusOr<U> {
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
      fn.reset();
      Leave();
      this->Set(std::move(result));
    }
  }
  void Leave() {
    std::lock_guard lock(mutex_);
    running_ = std::thread::id();
    idle_.notify_all();
  }
  void Follow(Ref<FutureState<U>> inner) {
    if (!inner) return this->Set(absl::FailedPreconditionError("the continuation returned an empty future"));
    std::unique_lock lock(mutex_);
    inner_ = inner;
    const bool cancelled = cancelled_ || abandoned_;
    lock.unlock();
    const auto finish = [self = Ref<ThenState>(this), inner] {
      std::unique_lock guard(self->mutex_);
      self->inner_ = {};
      guard.unlock();
      self->Set(inner->Take());
    };
    if (!inner->OnReady(finish, /*in_place=*/true)) return finish();
    if (cancelled) inner->CancelSource();
  }

  std::mutex mutex_;
  std::condition_variable idle_;
  Ref<FutureState<T>> upstream_;  // until it is done
  const Ref<FutureState<T>> source_ = upstream_;
  const std::shared_ptr<Executor> given_executor_;
  Ref<FutureState<U>> inner_;  // the future that `fn` returned, until it is done
  std::optional<Fn> fn_;
  std::thread::id running_;
  bool cancelled_ = false;
  bool abandoned_ = false;
};

/// Several futures' results, gathered in place. `Out` is the tuple or vector of them.
template <class Out>
class AllState final : public FutureState<Out> {
 public:
  AllState(Out slots, std::size_t count) : slots_(std::move(slots)), left_(count + 1) {}

  template <class T>
  void Add(Ref<FutureState<T>> source, absl::StatusOr<T>& slot) {
    if (!source) {
      slot = absl::FailedPreconditionError("the future is empty: its result was taken or moved away");
      return Arrived();
    }
    {
      std::lock_guard lock(mutex_);
      sources_.push_back(source);
    }
    const auto take = [self = Ref<AllState>(this), source, &slot] {
      slot = source->Take();
      self->Arrived();
    };
    if (!source->OnReady(take, /*in_place=*/true)) take();
  }
  Out& slots() { return slots_; }
  /// One more than the sources: the last Add must not complete what is still being set up.
  void Arrived() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) this->Set(std::move(slots_));
  }

  void CancelSource() override {
    for (const Ref<FutureSource>& source : Sources()) source->CancelSource();
  }
  Executor& executor() override {
    std::lock_guard lock(mutex_);
    return sources_.empty() ? AnyThread() : sources_.back()->executor();
  }
  bool NeedsExecutor() override {
    const auto sources = Sources();
    return std::any_of(sources.begin(), sources.end(), [](const auto& source) { return source->NeedsExecutor(); });
  }
  bool Lends() const override {
    const auto sources = Sources();
    return std::any_of(sources.begin(), sources.end(), [](const auto& source) { return source->Lends(); });
  }
  void AwaitReturn() override {
    for (const Ref<FutureSource>& source : Sources()) source->AwaitReturn();
  }

 private:
  std::vector<Ref<FutureSource>> Sources() const {
    std::lock_guard lock(mutex_);
    return sources_;
  }

  mutable std::mutex mutex_;
  Out slots_;
  std::atomic<std::size_t> left_;
  std::vector<Ref<FutureSource>> sources_;
};

template <class T>
class AnyState final : public FutureState<std::pair<std::size_t, absl::StatusOr<T>>> {
 public:
  using Winner = std::pair<std::size_t, absl::StatusOr<T>>;

  explicit AnyState(std::vector<Ref<FutureState<T>>> sources)
      : sources_(std::move(sources)),
        lends_(std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->Lends(); })),
        left_(sources_.size()) {}

  void Begin() {
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      const auto arrived = [self = Ref<AnyState>(this), i] { self->Arrived(i); };
      if (!sources_[i]->OnReady(arrived, /*in_place=*/true)) arrived();
    }
  }
  void CancelSource() override {
    for (const Ref<FutureState<T>>& source : sources_) source->CancelSource();
  }
  Executor& executor() override { return sources_.front()->executor(); }
  bool NeedsExecutor() override {
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->NeedsExecutor(); });
  }
  bool Lends() const override { return lends_; }
  void AwaitReturn() override {
    for (const Ref<FutureState<T>>& source : sources_) source->AwaitReturn();
  }

 private:
  // Where memory was lent, those that lost have to let go of it before there is a result.
  void Arrived(std::size_t i) {
    const bool first = !decided_.exchange(true);
    if (first) {
      winner_.emplace(i, sources_[i]->Take());
      CancelSource();  // the others
    }
    const bool last = left_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    if (lends_ ? last : first) this->Set(*std::move(winner_));
  }

  const std::vector<Ref<FutureState<T>>> sources_;
  const bool lends_;
  std::atomic<std::size_t> left_;
  std::atomic<bool> decided_{false};
  std::optional<Winner> winner_;
};

}  // namespace detail

template <class T>
template <class Fn>
auto Future<T>::Then(Fn fn) && {
  return std::move(*this).Then(nullptr, std::move(fn));
}

template <class T>
template <class Fn>
auto Future<T>::Then(std::shared_ptr<Executor> executor, Fn fn) && {
  static_assert(std::is_invocable_v<Fn, absl::StatusOr<T>>, "inferwire: Then takes a function of absl::StatusOr<T>");
  using U = typename detail::Flatten<std::invoke_result_t<Fn, absl::StatusOr<T>>>::Type;
  detail::Ref<detail::FutureState<T>> upstream = std::exchange(state_, {});
  if (!upstream)
    upstream = detail::MakeRef<detail::ReadyState<T>>(absl::FailedPreconditionError("the future is empty"));
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
      return MakeReadyFuture<Winner>(absl::InvalidArgumentError("WhenAny: one of the futures is empty"));
    sources.push_back(FutureAccess::Release(std::move(future)));
  }
  if (sources.empty())
    return MakeReadyFuture<Winner>(absl::InvalidArgumentError("WhenAny: expected at least one future"));
  auto state = detail::MakeRef<detail::AnyState<T>>(std::move(sources));
  state->Begin();
  return Future<Winner>(std::move(state));
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_FUTURE_H_
