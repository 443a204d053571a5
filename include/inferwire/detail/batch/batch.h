// SPDX-License-Identifier: Apache-2.0
//
// A batch of rows that travel together, and the callers whose rows they are.
#ifndef INFERWIRE_DETAIL_BATCH_BATCH_H_
#define INFERWIRE_DETAIL_BATCH_BATCH_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/batch/rows.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"
#include "inferwire/infer_result.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

class Batch;
class BatchMember;

/// Whose batches these are. Its lock is theirs: their public fields are under it.
class BatchOwner {
 public:
  virtual ~BatchOwner() = default;
  /// A caller goes. Without the lock, from any thread, as what follows.
  virtual void Cancel(BatchMember& member, const absl::Status& why) = 0;
  /// The client is shut down.
  virtual void Cancel(Batch& batch, const absl::Status& why) = 0;
  virtual void OnTimer(Batch& batch) = 0;
  virtual Executor& executor() = 0;
};

/// One caller: the state of its future.
class BatchMember final : public FutureState<InferResult> {
 public:
  /// `info`: where the caller wants to be told of its call, or null.
  BatchMember(std::shared_ptr<BatchOwner> owner, TimePoint started, absl::Duration timeout, std::string id,
              CallInfo* info);
  ~BatchMember() override;

  Ref<Batch> batch;        // the batch that this caller waits in
  bool done = false;       // it has its result, or is about to
  absl::Status cancelled;  // before it was in a batch

  TimePoint deadline() const { return deadline_; }
  bool wants_info() const { return info_ != nullptr; }

  void Watch(const std::stop_token& stop) {
    if (stop.stop_possible()) stop_.emplace(stop, OnStop{this});
  }
  void CancelSource() override { owner_->Cancel(*this, detail::CancelledError("cancelled by the caller")); }
  Executor& executor() override { return owner_->executor(); }
  bool NeedsExecutor() override { return true; }

  /// With the lock, since nothing is written there once the future is gone.
  void Tell(const CallInfo& info) {
    if (info_ != nullptr) *info_ = info;
  }
  /// The same of an end that is its own.
  absl::Status Explain(absl::Status why, CallInfo::Reason reason, TimePoint now) {
    CallInfo info;
    info.reason = reason;
    info.latency = Between(started_, now);
    Tell(info);
    AttachCallInfo(why, info);
    return why;
  }
  absl::Status DeadlineError(bool left) const {
    return detail::DeadlineExceededError(Cat("no end within the timeout of ", absl::FormatDuration(timeout_),
                                             left ? ": the batch is under way" : ": the batch had not left yet"));
  }
  /// Once, after `done`, and without the lock.
  void Finish(absl::StatusOr<InferResult> result) {
    stop_.reset();  // waits for a callback that runs elsewhere
    if (result.ok()) result->set_id(id_);
    this->Set(std::move(result));
  }

 private:
  struct OnStop {
    BatchMember* member;
    void operator()() const {
      member->owner_->Cancel(*member, detail::CancelledError("cancelled by the caller's stop token"));
    }
  };

  const std::shared_ptr<BatchOwner> owner_;
  const TimePoint started_, deadline_;
  const absl::Duration timeout_;
  const std::string id_;
  CallInfo* const info_;
  std::optional<std::stop_callback<OnStop>> stop_;
};

/// Rows that travel together. Its members keep it, its timer while that is armed, and whoever sends it.
class Batch final : public engine::TimerOwner, public engine::Cancellable {
 public:
  enum class State {
    kGathering,  ///< it takes more
    kReady,      ///< its turn to leave has not come; it takes more while there is room
    kLeft,
    kOver,
  };
  struct Seat {
    Ref<BatchMember> member;  // null once it has gone from a batch that has left
    std::int64_t rows;
  };

  /// `joined_by`: what those who may join agree in.
  Batch(std::shared_ptr<BatchOwner> owner, Clock* clock, std::string joined_by, std::shared_ptr<JoinedRows> joined)
      : key(std::move(joined_by)), rows(std::move(joined)), timer(*this, clock), owner_(std::move(owner)) {}

  void OnTimer(engine::Timer&) override { owner_->OnTimer(*this); }
  void OnClockFault(const absl::Status&) override { without_clock = true; }
  void Cancel(absl::Status why) override { owner_->Cancel(*this, why); }

  /// When its timer has something to do: it is to leave, or a member's deadline passes.
  TimePoint Next() const {
    TimePoint next = state == State::kGathering ? due : TimePoint::max();
    for (const Seat& seat : seats) {
      if (seat.member) next = (std::min)(next, seat.member->deadline());
    }
    return next;
  }

  const std::string key;
  const std::shared_ptr<JoinedRows> rows;
  State state = State::kGathering;
  std::optional<bool> idempotent;
  std::int64_t first = 0;  // its first row in `rows`
  std::int64_t count = 0;
  std::vector<Seat> seats;  // in the order of their rows
  std::size_t waiting = 0;  // members that have not gone
  TimePoint due = TimePoint::max();
  engine::Timer timer;
  TimePoint armed = TimePoint::max();
  bool without_clock = false;          // the user's has failed: it leaves without waiting
  Ref<FutureState<InferResult>> call;  // while it is under way
  CallInfo info;                       // the call's

 private:
  const std::shared_ptr<BatchOwner> owner_;
};

inline BatchMember::BatchMember(std::shared_ptr<BatchOwner> owner, TimePoint started, absl::Duration timeout,
                                std::string id, CallInfo* info)
    : owner_(std::move(owner)),
      started_(started),
      deadline_(After(started, timeout)),
      timeout_(timeout),
      id_(std::move(id)),
      info_(info) {}
inline BatchMember::~BatchMember() = default;

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BATCH_BATCH_H_
