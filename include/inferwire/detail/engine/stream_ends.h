// SPDX-License-Identifier: Apache-2.0
//
// The two ends of a stream, as its user has them: reading, writing, waiting for either, and letting go.
#ifndef INFERWIRE_DETAIL_ENGINE_STREAM_ENDS_H_
#define INFERWIRE_DETAIL_ENGINE_STREAM_ENDS_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/idle_limits.h"
#include "inferwire/detail/engine/stream.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/executor.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

inline bool StreamCall::Read(wire::Reply* reply) {
  if (foreign()) return false;
  std::unique_lock lock(mutex_);
  ReadState state = TryReadLocked(reply);
  if (state != ReadState::kWait) return state == ReadState::kMessage;
  if (!MayBlock(lock, "Read")) return false;
  while ((state = TryReadLocked(reply)) == ReadState::kWait) {
    if (!waiting_) StartWaiting();
    if (!DoExecutorsPart(lock)) readable_.wait(lock);
  }
  StopWaiting();
  return state == ReadState::kMessage;
}

inline bool StreamCall::OnReadable(absl::AnyInvocable<void()> resume, bool in_place) {
  if (foreign()) return false;
  std::lock_guard lock(mutex_);
  if (Readable()) return false;
  reader_.resume = std::move(resume);
  reader_.in_place = in_place;
  StartWaiting();
  return true;
}

inline bool StreamCall::OnReadable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) {
  if (foreign() || !MayWait(waiter)) return false;
  std::lock_guard lock(mutex_);
  if (Readable()) return false;
  reader_.resume = std::move(resume);
  reader_.in_place = false;
  reader_.elsewhere = Elsewhere(waiter);
  if (reader_.elsewhere != nullptr && prepare_) HandOver(*reader_.elsewhere);
  StartWaiting();
  return true;
}

inline absl::Status StreamCall::Write(wire::Payload payload) {
  if (foreign()) return detail::ForkedError();
  std::unique_lock lock(mutex_);
  for (bool helped = false;; helped = true) {
    const WriteState state = TryWriteLocked(payload);
    if (state == WriteState::kTaken) return absl::OkStatus();
    if (state == WriteState::kEnded) return WriteErrorLocked();
    if (helped) {
      if (!idle_.counts(IdleLimits::kRoom)) StartLimit(IdleLimits::kRoom);
      writable_.wait(lock);
      continue;
    }
    if (absl::Status may = detail::MayBlock("Write"); !may.ok()) return may;
    lock.unlock();
    Help();
    lock.lock();
  }
}

inline bool StreamCall::WriteBeyond(wire::Payload& payload) {
  std::lock_guard lock(mutex_);
  if (Ended() || outbox_.half_closed()) return false;
  outbox_.Push(std::move(payload));
  PumpWrites();
  return true;
}

inline bool StreamCall::OnWritable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) {
  if (foreign() || !MayWait(waiter)) return false;
  std::lock_guard lock(mutex_);
  if (Writable()) return false;
  writer_.resume = std::move(resume);
  writer_.elsewhere = Elsewhere(waiter);
  StartLimit(IdleLimits::kRoom);
  return true;
}

inline absl::Status StreamCall::WritesDone() {
  if (foreign()) return detail::ForkedError();
  std::lock_guard lock(mutex_);
  if (Ended()) return outbox_.half_closed() && StatusLocked().ok() ? absl::OkStatus() : WriteErrorLocked();
  outbox_.CloseHalf();
  PumpWrites();
  return absl::OkStatus();
}

inline absl::Status StreamCall::Drain() {
  if (foreign()) return detail::ForkedError();
  std::unique_lock lock(mutex_);
  outbox_.CloseHalf();
  inbox_.Discard();
  if (!Ended()) {
    PumpWrites();
    PumpReads();
  }
  if (!over_ && !MayBlock(lock, "Finish")) {
    lock.lock();
    return StatusLocked();
  }
  StartLimit(IdleLimits::kEnd);
  while (!over_) {
    if (!DoExecutorsPart(lock)) readable_.wait(lock);
  }
  return StatusLocked();
}

inline void StreamCall::Drop(const char* why) {
  if (foreign()) return;
  Cancel(detail::CancelledError(why));
  if (lends() && detail::CurrentThread().serves_grpc) {
    ServeUntil([this] {
      std::lock_guard lock(mutex_);
      return over_;
    });
  }
  std::unique_lock lock(mutex_);
  if (lends()) readable_.wait(lock, [this] { return over_; });
  if (preparing_ == std::thread::id() || preparing_ == std::this_thread::get_id()) return;
  const detail::UserCodeWait wait(preparing_);
  if (wait.may()) readable_.wait(lock, [this] { return preparing_ == std::thread::id(); });
}

inline void StreamCall::Fail(absl::Status why) {
  if (foreign()) return;
  {
    std::lock_guard lock(mutex_);
    inbox_.Clear();
    failure_ = why;
  }
  Cancel(std::move(why));
}

inline void StreamCall::BuildRequest(std::unique_lock<std::mutex> lock) {
  Executor& executor = engine_->executor();
  const auto job = detail::MakeRef<detail::Job>(executor, [self = detail::Ref<StreamCall>(this)](absl::Status taken) {
    std::unique_lock again(self->mutex_);
    self->prepare_ = {};
    if (self->Ended()) return;
    if (!taken.ok()) return self->OnRequestBuilt(std::move(again), std::move(taken));
    self->preparing_ = std::this_thread::get_id();
    wire::Reply last = self->last_.Copy();
    again.unlock();
    absl::StatusOr<wire::Payload> request = self->terms_.resume(std::move(last));
    again.lock();
    self->preparing_ = std::thread::id();
    self->readable_.notify_all();
    if (self->Ended()) return;
    absl::Status prepared = request.status();
    if (request.ok()) self->spec_.request = *std::move(request);
    self->OnRequestBuilt(std::move(again), std::move(prepared));
  });
  prepare_ = job;
  if (reader_.elsewhere != nullptr) HandOver(*reader_.elsewhere);
  readable_.notify_all();  // who waits on a thread of the executor does it himself
  lock.unlock();
  detail::Hand(executor, job);
}

inline bool StreamCall::MayBlock(std::unique_lock<std::mutex>& lock, const char* function) {
  absl::Status may = detail::MayBlock(function);
  lock.unlock();
  may.ok() ? Help() : Fail(may);
  if (may.ok()) lock.lock();
  return may.ok();
}

inline bool StreamCall::DoExecutorsPart(std::unique_lock<std::mutex>& lock) {
  if (!prepare_ || !detail::CurrentThread().Runs(engine_->executor())) return false;
  const detail::Ref<detail::Job> job = std::exchange(prepare_, {});
  lock.unlock();
  job->Claim();
  lock.lock();
  return true;
}

inline StreamHandle::ReadState StreamCall::TryReadLocked(wire::Reply* reply) {
  if (!inbox_.empty()) {
    const bool had_room = inbox_.has_room();
    *reply = inbox_.Pop();
    if (!had_room) PumpReads();  // else it is reading
    return ReadState::kMessage;
  }
  return over_ ? ReadState::kEnded : ReadState::kWait;
}

inline void StreamCall::Deliver(Attempt& attempt, wire::Reply reply) {
  committed_ = true;
  const TimePoint now = Now();
  if (terms_.resume != nullptr) {
    last_ = reply.Copy();
    ResetRetries(now);
  }
  attempt.Listen(now);
  const bool first = inbox_.delivered() == 0;
  if (first && terms_.first_message_timeout != absl::InfiniteDuration()) loop_.Disarm(first_message_timer_);
  const bool kept = inbox_.Deliver(std::move(reply), now);
  Moved(now);
  if (kept) WakeReader();
  PumpReads();
}

inline StreamHandle::WriteState StreamCall::TryWriteLocked(wire::Payload& payload) {
  if (Ended() || outbox_.half_closed()) return WriteState::kEnded;
  if (!outbox_.has_room()) return WriteState::kWait;
  outbox_.Push(std::move(payload));
  PumpWrites();
  return WriteState::kTaken;
}

inline void StreamCall::Unlock(std::unique_lock<std::mutex> lock) {
  absl::AnyInvocable<void()> in_place;
  bool reader = std::exchange(reader_.wake, false);
  if (reader && reader_.in_place) {
    in_place = std::exchange(reader_.resume, nullptr);
    reader = false;
  }
  reader = reader && !std::exchange(reader_.posted, true);
  const bool writer = std::exchange(writer_.wake, false) && !std::exchange(writer_.posted, true);
  lock.unlock();
  if (in_place) in_place();
  if (reader) Post(&StreamCall::reader_);
  if (writer) Post(&StreamCall::writer_);
}

inline void StreamCall::Post(Waiter StreamCall::* which) {
  std::shared_ptr<Executor> elsewhere;
  {
    std::lock_guard lock(mutex_);
    elsewhere = (this->*which).elsewhere;
  }
  Executor& executor = elsewhere != nullptr ? *elsewhere : engine_->executor();
  detail::RunOn(executor, [self = detail::Ref<StreamCall>(this), which](const absl::Status& taken) {
    if (!taken.ok()) self->Fail(taken);
    std::unique_lock lock(self->mutex_);
    Waiter& waiter = (*self).*which;
    waiter.posted = false;
    if (which == &StreamCall::reader_ ? !self->Readable() : !self->Writable()) return;
    absl::AnyInvocable<void()> resume = std::exchange(waiter.resume, nullptr);
    lock.unlock();
    if (resume) resume();
  });
}

inline void StreamCall::OnOtherTimer(std::unique_lock<std::mutex> lock, Timer& timer) {
  if (&timer == &first_message_timer_) {
    if (inbox_.delivered() > 0) return;
    return End(std::move(lock),
               detail::DeadlineExceededError(detail::Cat("no message within the first_message_timeout of ",
                                                         absl::FormatDuration(terms_.first_message_timeout))),
               CallInfo::Reason::kDeadline);
  }
  constexpr const char* kLacking[] = {"no message", "nothing taken or sent by the server", "no message and no end"};
  const IdleLimits::Fired fired = idle_.OnTimer(AsOf(timer));
  if (fired.expired.has_value()) {
    return End(std::move(lock),
               detail::DeadlineExceededError(detail::Cat(kLacking[*fired.expired], " within the idle_timeout of ",
                                                         absl::FormatDuration(idle_.timeout()))),
               CallInfo::Reason::kDeadline);
  }
  if (fired.next.has_value()) loop_.Arm(idle_timer_, *fired.next);
}

inline void StreamCall::OnEnd(absl::Status) {
  std::unique_lock lock(mutex_);
  over_ = true;
  outbox_.Clear();
  loop_.Disarm(idle_timer_);
  if (terms_.first_message_timeout != absl::InfiniteDuration()) loop_.Disarm(first_message_timer_);
  // After a cancellation nobody wants what had arrived.
  if (cancelled()) inbox_.Clear();
  WakeReader();
  WakeWriter();
  Unlock(std::move(lock));
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_STREAM_ENDS_H_
