// SPDX-License-Identifier: Apache-2.0
//
// What a future and its source share.
#ifndef INFERWIRE_DETAIL_ASYNC_FUTURE_STATE_H_
#define INFERWIRE_DETAIL_ASYNC_FUTURE_STATE_H_

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
#include <type_traits>
#include <utility>
#include <variant>

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

/// For continuations of what was never asynchronous.
inline Executor& AnyThread() { return OfThisProcess<InlineExecutor>(); }

}  // namespace detail

/// For the library's own sources and combinators.
struct FutureAccess {
  template <class T>
  static detail::Ref<detail::FutureState<T>> Release(Future<T>&& future) {
    return std::exchange(future.state_, {});
  }
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ASYNC_FUTURE_STATE_H_
