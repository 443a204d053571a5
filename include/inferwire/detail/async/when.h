// SPDX-License-Identifier: Apache-2.0
//
// The states of futures of several.
#ifndef INFERWIRE_DETAIL_ASYNC_WHEN_H_
#define INFERWIRE_DETAIL_ASYNC_WHEN_H_

#include <absl/container/inlined_vector.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

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
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ASYNC_WHEN_H_
