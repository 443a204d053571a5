// SPDX-License-Identifier: Apache-2.0
//
// How batches gather, when they leave, and what becomes of those in them.
#ifndef INFERWIRE_DETAIL_BATCH_QUEUE_H_
#define INFERWIRE_DETAIL_BATCH_QUEUE_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "inferwire/batcher_options.h"
#include "inferwire/call_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/batch/batch.h"
#include "inferwire/detail/batch/rows.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

namespace detail {

/// Kept alive by the batcher, by every batch, and by every future. Everything that changes is under one lock. Batches
/// leave on the thread of the caller that fills them, else on the client's executor, since contracts are user code;
/// what comes back is split on the thread that serves gRPC.
class BatchQueue final : public BatchOwner, public std::enable_shared_from_this<BatchQueue> {
 public:
  /// Called from several threads at once.
  using Send = std::function<Future<InferResult>(InferRequest, CallOptions)>;

  BatchQueue(std::shared_ptr<engine::Engine> engine, BatcherOptions options, Send send)
      : engine_(std::move(engine)), loop_(engine_->AsyncLoop()), options_(options), send_(std::move(send)) {}

  /// Takes a place in a batch for a request that is well formed and has `rows`, no more than fit into one.
  Future<InferResult> Add(const InferRequest& request, std::int64_t rows, const CallOptions& options) {
    if (engine_->foreign()) return MakeReadyFuture<InferResult>(ForkedError());
    const TimePoint now = engine_->Now();
    const absl::Duration timeout = options.timeout.value_or(engine_->options().timeout);
    auto member = MakeRef<Member>(shared_from_this(), now, timeout, request.id(), options.info);
    member->Watch(options.stop);
    // Those who differ in whether they may be sent twice are not sent together.
    std::string key = JoinKey(request);
    if (options.idempotent.has_value()) key += *options.idempotent ? '+' : '-';
    Leaving leaving;
    std::unique_lock lock(mutex_);
    absl::Status refusal;
    if (!member->cancelled.ok()) {
      refusal = member->Explain(member->cancelled, CallInfo::Reason::kCancelled, now);
    } else if (!Join(std::move(key), member, request, rows, options.idempotent, now)) {
      refusal = member->Explain(detail::FailedPreconditionError("the client was shut down"),
                                CallInfo::Reason::kPermanent, now);
    }
    member->done = !refusal.ok();
    leaving = TakeLeaving();
    lock.unlock();
    if (!refusal.ok()) member->Finish(std::move(refusal));
    SendAll(leaving);
    return Future<InferResult>(std::move(member));
  }

  /// Nobody adds any more: what has gathered need not wait for others.
  void Close() {
    if (origin_.foreign()) return;
    std::unique_lock lock(mutex_);
    while (!open_.empty()) {
      const Ref<Batch> batch = open_.begin()->second;
      CloseBatch(*batch);
    }
    SendLater(TakeLeaving(), std::move(lock));
  }

 private:
  const OfOneProcess origin_;
  using Member = BatchMember;
  using Seat = Batch::Seat;
  using BatchState = Batch::State;
  using Leaving = absl::InlinedVector<Ref<Batch>, 1>;
  struct Ended {
    Ref<Member> member;
    absl::StatusOr<InferResult> result;
  };

  // ---- with the lock

  // False once the client was shut down.
  bool Join(std::string key, const Ref<Member>& member, const InferRequest& request, std::int64_t rows,
            std::optional<bool> idempotent, TimePoint now) {
    auto found = open_.find(key);
    if (found != open_.end() && found->second->count + rows > options_.max_batch) {
      const Ref<Batch> full = found->second;
      CloseBatch(*full);
      found = open_.end();
    }
    Ref<Batch> batch;
    if (found != open_.end()) {
      batch = found->second;
    } else {
      batch =
          MakeRef<Batch>(shared_from_this(), engine_->clock(), key, std::make_shared<JoinedRows>(options_.max_batch));
      if (!engine_->Register(*batch)) return false;
      batch->idempotent = idempotent;
      batch->due = After(now, options_.max_delay);
      open_.emplace(std::move(key), batch);
    }
    batch->rows->Append(request, rows);
    batch->count += rows;
    Seated(*batch, member, rows);
    if (batch->count >= options_.max_batch) {
      CloseBatch(*batch);
    } else if (batch->due <= now) {
      MakeReady(*batch);
    }
    Arm(*batch, (std::min)(batch->state == BatchState::kGathering ? batch->due : TimePoint::max(), member->deadline()));
    return true;
  }
  static void Seated(Batch& batch, const Ref<Member>& member, std::int64_t rows) {
    member->batch = Ref<Batch>(&batch);
    batch.seats.push_back({member, rows});
    ++batch.waiting;
  }
  // A timer that fires early looks when the next is due.
  void Arm(Batch& batch, TimePoint at) {
    if (at >= batch.armed) return;
    batch.armed = at;
    loop_.Arm(batch.timer, at);
  }
  void MakeReady(Batch& batch) {
    if (batch.state != BatchState::kGathering) return;
    batch.state = BatchState::kReady;
    ready_.emplace_back(&batch);
  }
  void LeaveOpen(const Batch& batch) {
    const auto found = open_.find(batch.key);
    if (found != open_.end() && found->second.get() == &batch) open_.erase(found);
  }
  // It takes no more.
  void CloseBatch(Batch& batch) {
    MakeReady(batch);
    LeaveOpen(batch);
  }
  Leaving TakeLeaving() {
    Leaving leaving;
    while (!ready_.empty() && (options_.max_in_flight == 0 || in_flight_ < options_.max_in_flight)) {
      Ref<Batch> batch = std::move(ready_.front());
      ready_.pop_front();
      LeaveOpen(*batch);
      batch->state = BatchState::kLeft;
      ++in_flight_;
      leaving.push_back(std::move(batch));
    }
    return leaving;
  }
  // Its members have gone, or have what they came for.
  void End(Batch& batch) {
    if (batch.state == BatchState::kReady) std::erase_if(ready_, [&](const auto& one) { return one.get() == &batch; });
    LeaveOpen(batch);
    if (batch.state == BatchState::kLeft) --in_flight_;
    batch.state = BatchState::kOver;
    batch.call = {};
    engine_->Unregister(batch);
    loop_.Disarm(batch.timer);
  }
  // A member goes. Before its batch has left its rows go too. Gives the call that nobody waits for any more, if any.
  Ref<FutureState<InferResult>> Remove(Member& member) {
    const Ref<Batch> batch = std::exchange(member.batch, {});
    member.done = true;
    --batch->waiting;
    std::int64_t first = 0;
    auto seat = batch->seats.begin();
    for (; seat->member.get() != &member; ++seat) first += seat->rows;
    seat->member = {};  // a shutdown may come to a batch that has just ended
    if (batch->state == BatchState::kLeft) {
      return batch->waiting == 0 ? batch->call : Ref<FutureState<InferResult>>();
    }
    if (batch->waiting == 0) {
      End(*batch);
      return {};
    }
    batch->rows->Erase(first, seat->rows);
    batch->count -= seat->rows;
    batch->seats.erase(seat);
    return {};
  }
  // Each member gets a batch of its own. Callers for which no batch can be made get an error.
  void Part(Batch& batch, TimePoint now, std::vector<Ended>& ended) {
    std::int64_t first = 0;
    for (Seat& seat : batch.seats) {
      const std::int64_t begin = std::exchange(first, first + seat.rows);
      if (!seat.member) continue;
      const Ref<Member> member = std::move(seat.member);
      const auto part = MakeRef<Batch>(shared_from_this(), engine_->clock(), std::string(), batch.rows);
      if (!engine_->Register(*part)) {
        member->done = true;
        member->batch = {};
        const absl::Status why = detail::CancelledError("the client was shut down");
        ended.push_back({member, member->Explain(why, CallInfo::Reason::kCancelled, now)});
        continue;
      }
      part->idempotent = batch.idempotent;
      part->first = batch.first + begin;
      part->count = seat.rows;
      Seated(*part, member, seat.rows);
      MakeReady(*part);
      Arm(*part, part->Next());
    }
    batch.seats.clear();
  }

  // ---- without it

  void Cancel(Member& member, const absl::Status& why) override {
    const Ref<Member> self(&member);
    std::unique_lock lock(mutex_);
    if (member.done) return;
    if (!member.batch) {
      member.cancelled = why;
      return;
    }
    const Ref<Batch> batch = member.batch;
    const Ref<FutureState<InferResult>> call = Remove(member);
    const absl::Status status = member.Explain(why, CallInfo::Reason::kCancelled, engine_->Now());
    lock.unlock();
    if (call) call->CancelSource();
    member.Finish(status);
  }
  // The client is shut down.
  void Cancel(Batch& batch, const absl::Status& why) override {
    const Ref<Batch> self(&batch);
    std::vector<Ended> ended;
    Ref<FutureState<InferResult>> call;
    {
      std::lock_guard lock(mutex_);
      const std::vector<Seat> seats = batch.seats;
      for (const Seat& seat : seats) {
        if (!seat.member) continue;
        call = Remove(*seat.member);
        ended.push_back({seat.member, seat.member->Explain(why, CallInfo::Reason::kCancelled, engine_->Now())});
      }
    }
    if (call) call->CancelSource();
    Finish(ended);
  }
  void OnTimer(Batch& batch) override {
    std::vector<Ended> ended;
    Ref<FutureState<InferResult>> call;
    std::unique_lock lock(mutex_);
    if (batch.state == BatchState::kOver) return;
    absl::Status fault;
    const TimePoint now = engine_->Now(&fault);
    // What came in time counts, however long it takes to understand it.
    const bool answered = batch.call && batch.call->Answered();
    const std::vector<Seat> seats = batch.seats;
    for (const Seat& seat : seats) {
      if (answered || !seat.member || seat.member->deadline() > now) continue;
      const absl::Status why = seat.member->DeadlineError(batch.state == BatchState::kLeft);
      call = Remove(*seat.member);
      ended.push_back({seat.member, seat.member->Explain(why, CallInfo::Reason::kDeadline, now)});
    }
    if (batch.state != BatchState::kOver) {
      if (batch.due <= now || !fault.ok() || batch.without_clock) MakeReady(batch);  // the call will tell of the clock
      batch.armed = TimePoint::max();
      if (!answered) Arm(batch, batch.Next());
    }
    SendLater(TakeLeaving(), std::move(lock));
    if (call) call->CancelSource();
    Finish(ended);
  }

  Executor& executor() override { return engine_->executor(); }

  // Takes the lock over.
  void SendLater(Leaving leaving, std::unique_lock<std::mutex> lock) {
    lock.unlock();
    if (leaving.empty()) return;
    RunOn(executor(), [self = shared_from_this(), leaving = std::move(leaving)](const absl::Status& taken) {
      if (taken.ok()) return self->SendAll(leaving);
      for (const Ref<Batch>& batch : leaving) self->OnAnswer(*batch, taken);
    });
  }
  void SendAll(const Leaving& leaving) {
    for (const Ref<Batch>& batch : leaving) SendOne(batch);
  }
  void SendOne(const Ref<Batch>& batch) {
    CallOptions options{.idempotent = batch->idempotent};
    {
      std::unique_lock lock(mutex_);
      if (batch->waiting == 0) {
        End(*batch);
        return SendLater(TakeLeaving(), std::move(lock));
      }
      TimePoint latest = TimePoint::min();
      for (const Seat& seat : batch->seats) {
        if (!seat.member) continue;
        latest = (std::max)(latest, seat.member->deadline());
        if (seat.member->wants_info()) options.info = &batch->info;
      }
      options.timeout = Between(engine_->Now(), latest);
    }
    const Ref<FutureState<InferResult>> call =
        FutureAccess::Release(send_(JoinedRows::Request(batch->rows, batch->first, batch->count), std::move(options)));
    bool wanted = false;
    {
      std::lock_guard lock(mutex_);
      batch->call = call;
      wanted = batch->waiting > 0;
    }
    if (!wanted) call->CancelSource();
    const auto answered = [self = shared_from_this(), batch, call] { self->OnAnswer(*batch, call->Take()); };
    if (!call->OnReady(answered, /*in_place=*/true)) answered();
  }

  void OnAnswer(Batch& batch, absl::StatusOr<InferResult> result) {
    if (result.ok()) {
      if (absl::Status fits = CheckRows(*result, batch.count); !fits.ok()) result = std::move(fits);
    }
    std::vector<Ended> ended;
    std::vector<Seat> seats;
    std::unique_lock lock(mutex_);
    // One that does not fit must not take its neighbours with it.
    if (result.status().code() == absl::StatusCode::kInvalidArgument && batch.seats.size() > 1) {
      Part(batch, engine_->Now(), ended);
    }
    for (const Seat& seat : batch.seats) {
      if (!seat.member) continue;
      seat.member->done = true;
      seat.member->batch = {};
      seat.member->Tell(batch.info);
    }
    seats = std::move(batch.seats);
    batch.seats.clear();
    End(batch);
    SendLater(TakeLeaving(), std::move(lock));
    Finish(ended);
    std::int64_t first = 0;
    for (const Seat& seat : seats) {
      if (seat.member) seat.member->Finish(result.ok() ? SplitRows(*result, first, seat.rows) : result.status());
      first += seat.rows;
    }
  }
  static void Finish(std::vector<Ended>& ended) {
    for (Ended& one : ended) one.member->Finish(std::move(one.result));
  }

  const std::shared_ptr<engine::Engine> engine_;
  engine::Loop& loop_;
  const BatcherOptions options_;
  const Send send_;
  std::mutex mutex_;
  std::unordered_map<std::string, Ref<Batch>> open_;  // those that take more, by what may join
  std::deque<Ref<Batch>> ready_;                      // those that would leave, in the order in which they may
  int in_flight_ = 0;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BATCH_QUEUE_H_
