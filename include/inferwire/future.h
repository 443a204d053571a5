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

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/error.h"
#include "inferwire/detail/form.h"
#include "inferwire/detail/invoke_user.h"
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
  /// The same, which stays.
  virtual std::shared_ptr<Executor> SharedExecutor() {
    return std::shared_ptr<Executor>(std::make_shared<Ref<FutureSource>>(this), &executor());
  }
  /// Whether the result takes work on the executor first.
  virtual bool NeedsExecutor() { return false; }
  /// Whether that is one whose work this thread is in the midst of.
  virtual bool Needs(const ThreadRole& thread) { return NeedsExecutor() && thread.Runs(executor()); }
  /// Whether what it waits for has come, and is being understood: no time counts against it any more.
  virtual bool Answered() { return false; }
  /// Whether memory of the caller's is in use until the result is there. Nothing: what it waits for tells.
  virtual std::optional<bool> Lends() const { return std::nullopt; }
  /// Returns when it is not in use any more.
  virtual void AwaitReturn() {}
  /// This thread is to wait for the result: does what that takes of work that this thread's executor has not begun,
  /// since all of its threads may be waiting.
  virtual void Help() {}

  // Sources may wait for sources, in trees of any depth: hence no recursion. What follows adds to a list what is to be
  // gone to next.

  using Sources = absl::InlinedVector<Ref<FutureSource>, 2>;
  /// What the result comes from, where that is another source's; nothing where it is there.
  virtual void WaitsFor(Sources& /*next*/) {}
  /// Cancels what is its own; what else is to be cancelled comes next.
  virtual void CancelStep(Sources& /*next*/) { CancelSource(); }
  /// Nobody wants the result: nothing of its owner's runs or is read when this returns, apart from what it waits for,
  /// which comes next.
  virtual void AbandonStep(Sources& next) = 0;
};

/// The future of it is gone.
INFERWIRE_DECL void Abandon(Ref<FutureSource> source);
/// All that a source waits for.
INFERWIRE_DECL void CancelAll(Ref<FutureSource> source);
INFERWIRE_DECL bool Needs(FutureSource& source, const ThreadRole& thread);
INFERWIRE_DECL bool Lends(FutureSource& source);
INFERWIRE_DECL void Help(FutureSource& source);

template <class T>
class FutureState;

/// Who takes the result of another state for its own.
template <class T>
class Follower : public virtual RefCounted {
 public:
  /// Its result is to be that of `inner`.
  virtual void Follow(Ref<FutureState<T>> inner) = 0;
  /// That is there.
  virtual void Arrived(const Ref<FutureState<T>>& inner) = 0;
};

/// What a future and its source share. The source calls Set once; whoever waits is told.
template <class T>
class FutureState : public FutureSource {
 public:
  FutureState() = default;
  explicit FutureState(absl::StatusOr<T> result) : result_(std::move(result)) {}

  void AbandonStep(Sources& /*next*/) override {
    Forget();
    this->CancelSource();
    this->AwaitReturn();
  }

  /// Whether its source is in the process that forked this one. Nothing else is to be done with it then but to take a
  /// result that is there.
  bool foreign() const { return origin_.foreign(); }

  /// FAILED_PRECONDITION where the thread that would wait is one that the result needs.
  absl::Status MayBlock(std::string_view function, const ThreadRole& thread = CurrentThread()) {
    if (foreign()) return ForkedError();
    if (absl::Status may = detail::MayBlock(function, thread); !may.ok()) return may;
    if (!detail::Needs(*this, thread)) return absl::OkStatus();
    return detail::FailedPreconditionError(
        Cat(function,
            " in a continuation would wait for the executor that runs it, and may do so for good: co_await the future, "
            "or return it from Then"));
  }

  void Set(absl::StatusOr<T>&& result) {
    const Ref<FutureState> self(this);  // who waits may drop the future as soon as the lock is open
    std::unique_lock lock(mutex_);
    Put(std::move(result));
    const Ref<Follower<T>> follower = std::exchange(follower_, {});
    const bool dispatch = continuation_ != nullptr;
    lock.unlock();        // first, or who wakes would wait again
    ready_.notify_all();  // also beside a continuation: whose owner goes may wait for what was lent
    if (follower) follower->Arrived(self);
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
  /// and nothing kept, if it is there already. Where the executor does not take it, that is the result, and the
  /// continuation is called elsewhere.
  bool OnReady(absl::AnyInvocable<void()> continuation, bool in_place) {
    return OnReady(std::move(continuation), in_place, nullptr);
  }
  /// On `elsewhere` in place of the executor, which is kept.
  bool OnReady(absl::AnyInvocable<void()> continuation, std::shared_ptr<Executor> elsewhere) {
    return OnReady(std::move(continuation), /*in_place=*/false, std::move(elsewhere));
  }
  /// In a continuation: whether it is called elsewhere since the executor has not taken it.
  bool refused() const { return refused_; }

  /// What became of GiveTo.
  enum class Given {
    kReady,     ///< nothing: the result is there to be taken
    kKept,      ///< the follower is told, and kept until then
    kPassedOn,  ///< nothing: the result is only that of `inner`, which is to be asked in this one's place
  };
  /// The result is to be that of `follower`, and nobody else's. Called with the follower's lock, so that these are
  /// taken from the outside in.
  virtual Given GiveTo(Ref<Follower<T>> follower, Ref<FutureState>& /*inner*/) {
    std::lock_guard lock(mutex_);
    if (result_.has_value()) return Given::kReady;
    std::swap(follower_, follower);  // the former ends without the lock
    return Given::kKept;
  }
  void Forget() {
    std::unique_lock lock(mutex_);
    const absl::AnyInvocable<void()> gone = std::exchange(continuation_, nullptr);
    lock.unlock();  // what it holds may end here, and come back
  }

 protected:
  std::mutex mutex_;
  std::optional<absl::StatusOr<T>> result_;
  Ref<Follower<T>> follower_;

 private:
  bool OnReady(absl::AnyInvocable<void()> continuation, bool in_place, std::shared_ptr<Executor> elsewhere) {
    if (foreign()) return false;
    std::lock_guard lock(mutex_);
    if (result_.has_value()) return false;
    in_place_ = in_place;
    elsewhere_ = std::move(elsewhere);
    continuation_ = std::move(continuation);
    return true;
  }
  void Put(absl::StatusOr<T>&& result) {
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      result_.emplace(std::move(result));
    } else {
      absl::Status put = InvokeUser("the move of a result", [&] { result_.emplace(std::move(result)); });
      if (!put.ok()) result_.emplace(std::move(put));
    }
  }
  // The continuation stays until the executor comes to it, so that one forgotten meanwhile does not run.
  void Dispatch() {
    auto run = [self = Ref<FutureState>(this)](absl::Status taken) {
      std::unique_lock lock(self->mutex_);
      absl::AnyInvocable<void()> continuation = std::exchange(self->continuation_, nullptr);
      if (!taken.ok()) {
        self->refused_ = true;
        self->result_.emplace(std::move(taken));
      }
      lock.unlock();
      if (continuation) continuation();
    };
    if (in_place_) return run(absl::OkStatus());
    const std::shared_ptr<Executor> elsewhere = std::move(elsewhere_);
    RunOn(elsewhere != nullptr ? *elsewhere : executor(), std::move(run));
  }

  const OfOneProcess origin_;
  std::condition_variable ready_;
  absl::AnyInvocable<void()> continuation_;
  std::shared_ptr<Executor> elsewhere_;
  bool in_place_ = false;
  bool refused_ = false;
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

/// For the library's own sources and combinators.
struct FutureAccess {
  template <class T>
  static detail::Ref<detail::FutureState<T>> Release(Future<T>&& future) {
    return std::exchange(future.state_, {});
  }
};

namespace detail {

/// For continuations of what was never asynchronous.
inline Executor& AnyThread() { return OfThisProcess<InlineExecutor>(); }

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

/// Several futures' results, gathered in place. `Out` is the tuple or vector of them.
template <class Out>
class AllState final : public FutureState<Out> {
 public:
  AllState(Out slots, std::size_t count) : slots_(std::move(slots)), left_(count + 1) {}

  template <class T>
  void Add(Ref<FutureState<T>> source, absl::StatusOr<T>& slot) {
    if (!source) {
      slot = detail::FailedPreconditionError("the future is empty: its result was taken or moved away");
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

  void CancelSource() override { CancelAll(Ref<FutureSource>(this)); }
  void CancelStep(FutureSource::Sources& next) override { WaitsFor(next); }
  void WaitsFor(FutureSource::Sources& next) override {
    std::lock_guard lock(mutex_);
    next.insert(next.end(), sources_.rbegin(), sources_.rend());  // the first is gone to first
  }
  Executor& executor() override {
    const Ref<FutureSource> last = Last();
    return last ? last->executor() : AnyThread();
  }
  std::shared_ptr<Executor> SharedExecutor() override {
    const Ref<FutureSource> last = Last();
    return last ? last->SharedExecutor() : FutureSource::SharedExecutor();
  }
  void AbandonStep(FutureSource::Sources& next) override {
    this->Forget();
    WaitsFor(next);
  }

 private:
  Ref<FutureSource> Last() {
    std::lock_guard lock(mutex_);
    return sources_.empty() ? Ref<FutureSource>() : sources_.back();
  }

  std::mutex mutex_;
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
        lends_(std::any_of(sources_.begin(), sources_.end(), [](const auto& one) { return detail::Lends(*one); })),
        left_(sources_.size()) {}

  void Begin() {
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      const auto arrived = [self = Ref<AnyState>(this), i] { self->Arrived(i); };
      if (!sources_[i]->OnReady(arrived, /*in_place=*/true)) arrived();
    }
  }
  void CancelSource() override { CancelAll(Ref<FutureSource>(this)); }
  void CancelStep(FutureSource::Sources& next) override { WaitsFor(next); }
  void WaitsFor(FutureSource::Sources& next) override { next.insert(next.end(), sources_.rbegin(), sources_.rend()); }
  Executor& executor() override { return sources_.front()->executor(); }
  std::shared_ptr<Executor> SharedExecutor() override { return sources_.front()->SharedExecutor(); }
  std::optional<bool> Lends() const override { return lends_; }
  void AbandonStep(FutureSource::Sources& next) override {
    this->Forget();
    WaitsFor(next);
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
