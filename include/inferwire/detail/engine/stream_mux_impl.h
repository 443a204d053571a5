// SPDX-License-Identifier: Apache-2.0
//
// Bidirectional calls that carry the requests of many, one to a target, opened when they are needed and closed when
// they are not.
#ifndef INFERWIRE_DETAIL_ENGINE_STREAM_MUX_IMPL_H_
#define INFERWIRE_DETAIL_ENGINE_STREAM_MUX_IMPL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/stream.h"
#include "inferwire/detail/engine/stream_mux.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/error_details.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Carries requests on streams of their contract's, one to each target. Requests that are given up cannot be called
/// back one by one, so the stream that carries one takes no new requests, and is cancelled as soon as nobody waits for
/// anything on it, so that the server does not go on computing answers that nobody reads.
///
/// Servers that do not say which answer is the last are known by their first answer. The stream that brought it is
/// half-closed, so that its end is the end of its requests; from then on each request to that target has a stream to
/// itself, half-closed at once. So has a request that shared a stream which another may have ended. Safe from any
/// thread.
class StreamMuxImpl final : public StreamMux {
 public:
  using Speech = engine::Speech;

  /// `path` lives as long as the process. `once`: what is sent must arrive on one stream, each with one answer, and
  /// when one is gone that had reached a server, nothing can be sent any more.
  StreamMuxImpl(std::shared_ptr<Engine> engine, const std::string& path, const Speech& speech, bool once = false)
      : engine_(std::move(engine)), path_(path), speech_(speech), once_(once) {}
  ~StreamMuxImpl() override {
    for (const auto& line : lines_) line->Close();
  }

  std::shared_ptr<channel::Target> OnlyTarget() override {
    if (!once_) return nullptr;
    std::lock_guard lock(mutex_);
    return lines_.empty() || lines_.front()->Unreached() ? nullptr : lines_.front()->target();
  }
  detail::Ref<MuxStream> Attach(std::shared_ptr<MuxedAttempt> attempt, const std::shared_ptr<channel::Target>& target,
                                const wire::Payload& request) override {
    wire::Payload message = speech_.with_id(request, attempt->id());
    std::lock_guard lock(mutex_);
    if (once_) std::erase_if(lines_, [](const auto& line) { return line->Unreached(); });
    const std::shared_ptr<Known> known = KnownOf(target);
    const bool alone = !once_ && (attempt->terms().alone || *known == Marks::kMissing ||
                                  (*known == Marks::kUnknown && !attempt->terms().repeatable));
    if (!alone) {
      for (const auto& line : lines_) {
        if (!once_ && line->target() != target) continue;
        if (line->Attach(attempt, message, /*at_any_rate=*/once_)) return line;
      }
    }
    std::erase_if(lines_, [](const auto& line) { return line->Retired(); });
    auto line = detail::MakeRef<MuxStreamImpl>(engine_, target, path_, speech_, known,
                                               once_   ? MuxStreamImpl::StreamUse::kOnce
                                               : alone ? MuxStreamImpl::StreamUse::kAlone
                                                       : MuxStreamImpl::StreamUse::kShared);
    line->Attach(std::move(attempt), message, /*at_any_rate=*/true);
    if (!alone) lines_.push_back(line);
    return line;
  }

 private:
  // Whether a server's answers say if more comes.
  enum class Marks { kUnknown, kGiven, kMissing };
  using Known = std::atomic<Marks>;

  // One call, to one target; its attempts try again, not it. What its stream brings is handed out by the thread that
  // turns the loop, which holds no lock meanwhile.
  // LOCK ORDER: the attempt's call, then this stream, then the StreamCall that carries it.
  class MuxStreamImpl final : public MuxStream, public TimerOwner {
   public:
    enum class StreamUse {
      kShared,
      kAlone,  ///< one request, and the client's end is closed behind it
      kOnce,   ///< stays also while nothing is on it
    };

    MuxStreamImpl(const std::shared_ptr<Engine>& engine, std::shared_ptr<channel::Target> target,
                  const std::string& path, const Speech& speech, std::shared_ptr<Known> known, StreamUse use)
        : target_(std::move(target)),
          read_label_(speech.read_label),
          readers_(speech.foreign ? &engine->decoders() : nullptr),
          known_(std::move(known)),
          use_(use),
          loop_(engine->AsyncLoop()),
          pump_timer_(*this),
          idle_timer_(*this),
          stream_(detail::MakeRef<StreamCall>(engine, loop_,
                                              Call::Spec{.path = path,
                                                         .request = {},
                                                         .options = {.attempt_timeout = absl::InfiniteDuration(),
                                                                     .retry = RetryPolicy{.max_attempts = 1}},
                                                         .timeout = absl::InfiniteDuration(),
                                                         .target = target_},
                                              StreamCall::Terms{.form = StreamCall::Form::kOpen})) {}

    const std::shared_ptr<channel::Target>& target() const { return target_; }
    bool Retired() {
      std::lock_guard lock(mutex_);
      return retired_;
    }
    /// Whether it is gone without having reached a server.
    bool Unreached() {
      std::lock_guard lock(mutex_);
      return unreached_;
    }

    /// False, and nothing is done, where the stream takes no more; `at_any_rate` the attempt is told instead.
    bool Attach(std::shared_ptr<MuxedAttempt> attempt, wire::Payload& request, bool at_any_rate) {
      std::lock_guard lock(mutex_);
      if (!opened_) {
        opened_ = true;
        stream_->Start(absl::OkStatus());
        loop_.Arm(pump_timer_, TimePoint::min());
        idle_since_ = Now();
        if (MayBeSilent()) ArmIdle();
      }
      const bool sent = !retired_ && stream_->WriteBeyond(request);
      if (!sent) {
        retired_ = true;
        if (!at_any_rate) return false;
        unsendable_ = true;
        loop_.Arm(pump_timer_, TimePoint::min());
      }
      if (use_ == StreamUse::kAlone) CloseBehind();
      waiting_ += attempt->is_waiting;
      ++boarded_;
      const std::string& id = attempt->id();
      attempts_.insert_or_assign(id, std::move(attempt));
      return true;
    }
    void Close() { stream_->Cancel(detail::CancelledError("nobody uses the stream any more")); }

    std::string peer() const override { return stream_->Peer(); }
    std::uint64_t heard() const override { return stream_->Heard(); }
    Pulse TakePulse(const Look& look) override { return stream_->TakePulse(look); }
    std::string Doubt(const Look& look) override { return stream_->Doubt(look); }
    bool warm() const override { return warm_.load(std::memory_order_relaxed); }
    void Retire() override {
      std::lock_guard lock(mutex_);
      if (!std::exchange(retired_, true)) EndIfDue();
    }
    void Detach(MuxedAttempt& attempt) override {
      std::shared_ptr<MuxedAttempt> gone;
      std::lock_guard lock(mutex_);
      const auto found = attempts_.find(attempt.id());
      if (found == attempts_.end() || found->second.get() != &attempt) return;  // its last message has come
      gone = Remove(found);
      abandoned_.insert(gone->id());
      retired_ = true;
      loop_.Arm(pump_timer_, TimePoint::min());
    }
    void SetBacklogged(MuxedAttempt& attempt, bool backlogged) override {
      Count(attempt, attempt.is_backlogged, backlogged, backlogged_);
    }
    void SetWaiting(MuxedAttempt& attempt, bool waiting) override {
      Count(attempt, attempt.is_waiting, waiting, waiting_);
    }

    void OnTimer(Timer& timer) override {
      if (&timer == &pump_timer_) return StartPump();
      std::lock_guard lock(mutex_);
      idle_armed_ = false;
      const bool silent = !attempts_.empty() && !warm() && MayBeSilent();
      if (retired_ || !(attempts_.empty() || silent)) return;
      if (Now() < idle_since_ + kIdle) return ArmIdle();
      if (silent) return CloseBehind();
      retired_ = true;
      EndIfDue();
    }

   private:
    using Riders = std::unordered_map<std::string, std::shared_ptr<MuxedAttempt>>;
    // An open stream keeps a server from going away in peace; opening another costs little.
    static constexpr std::chrono::seconds kIdle{1};

    void Count(MuxedAttempt& attempt, bool& was, bool is, int& count) {
      std::lock_guard lock(mutex_);
      if (was == is) return;
      was = is;
      const auto found = attempts_.find(attempt.id());
      if (found == attempts_.end() || found->second.get() != &attempt) return;
      count += is ? 1 : -1;
      if (paused_ && !MayPause()) {
        paused_ = false;
        loop_.Arm(pump_timer_, TimePoint::min());
      }
    }
    // A reader that is slow holds the server back, and with it all others: but not those that wait.
    bool MayPause() const { return backlogged_ > 0 && waiting_ == 0; }

    std::shared_ptr<MuxedAttempt> Remove(Riders::iterator found) {
      std::shared_ptr<MuxedAttempt> attempt = std::move(found->second);
      attempts_.erase(found);
      backlogged_ -= attempt->is_backlogged;
      waiting_ -= attempt->is_waiting;
      return attempt;
    }
    // Nobody comes any more, and nothing is expected.
    void EndIfDue() {
      if (attempts_.empty() && abandoned_.empty()) CloseBehind();
    }
    // The server ends the stream when it has answered.
    void CloseBehind() {
      retired_ = true;
      stream_->WritesDone().IgnoreError();  // it has ended then
    }
    // Of a server that says nothing, and of which nothing is known, it may be the half-close that it waits for.
    bool MayBeSilent() const { return use_ == StreamUse::kShared && *known_ == Marks::kUnknown; }
    void Learn(bool marked) {
      if (marked) {
        *known_ = Marks::kGiven;
      } else if (use_ != StreamUse::kOnce && !std::exchange(unmarked_, true)) {
        *known_ = Marks::kMissing;
        CloseBehind();
      }
    }
    void ArmIdle() {
      if (!std::exchange(idle_armed_, true)) loop_.Arm(idle_timer_, idle_since_ + kIdle);
    }

    void StartPump() {
      if (readers_ == nullptr) return Pump();
      readers_->Run([self = detail::Ref<MuxStreamImpl>(this)] {
        detail::CurrentThread().serves_grpc = true;  // others wait for this thread
        self->Pump();
      });
    }
    // By one thread at a time; whoever comes meanwhile has it go round once more.
    void Pump() {
      {
        std::lock_guard lock(mutex_);
        if (std::exchange(pumping_, true)) {
          pump_again_ = true;
          return;
        }
      }
      while (true) {
        PumpOnce();
        std::lock_guard lock(mutex_);
        if (!std::exchange(pump_again_, false)) {
          pumping_ = false;
          return;
        }
      }
    }
    void PumpOnce() {
      while (true) {
        bool cancel = false;
        {
          std::lock_guard lock(mutex_);
          cancel = unsendable_ || (attempts_.empty() && !abandoned_.empty());
          paused_ = MayPause();
          if (paused_) return;
        }
        if (cancel) stream_->Cancel(detail::AbortedError("the stream takes no more requests, or nobody waits for it"));
        wire::Reply message;
        switch (stream_->TryRead(&message)) {
          case StreamCall::ReadState::kMessage:
            Route(std::move(message));
            break;
          case StreamCall::ReadState::kWait:
            if (stream_->OnReadable([self = detail::Ref<MuxStreamImpl>(this)] { self->StartPump(); },
                                    /*in_place=*/true))
              return;
            break;
          case StreamCall::ReadState::kEnded:
            return Break(stream_->status());
        }
      }
    }

    void Route(wire::Reply message) {
      absl::StatusOr<ReplyTag> label = read_label_(message);
      warm_.store(true, std::memory_order_relaxed);
      if (!label.ok()) return stream_->Fail(label.status());
      std::shared_ptr<MuxedAttempt> attempt;
      bool anyones = false;
      {
        std::lock_guard lock(mutex_);
        if (label->error.ok()) Learn(label->marked);
        const auto found = Find(*label);
        if (found != attempts_.end()) {
          found->second->answered = found->second->answered || !label->empty;
          // Where each has one answer, that is it.
          label->last = label->last || (use_ == StreamUse::kOnce && !label->marked);
          attempt = label->last ? Remove(found) : found->second;
        } else if (label->id.empty() && !attempts_.empty()) {
          anyones = true;
        } else if (label->last) {
          abandoned_.erase(label->id);
        } else {  // the server goes on behind an error, or an answer that was the last
          abandoned_.insert(label->id);
          retired_ = true;
        }
        if (attempts_.empty() && abandoned_.empty()) {
          if (retired_) {
            EndIfDue();
          } else if (use_ != StreamUse::kOnce) {
            idle_since_ = Now();
            ArmIdle();
          }
        }
      }
      if (attempt != nullptr) return attempt->OnMessage(std::move(message), *label);
      if (!anyones) return;
      stream_->Fail(label->error.ok()
                        ? detail::InternalError("the server's answers do not say which request they are to")
                        : label->error);
    }
    // Without an id it is an answer to the only one there was.
    Riders::iterator Find(const ReplyTag& label) {
      const auto found = attempts_.find(label.id);
      if (found != attempts_.end() || !label.id.empty() || attempts_.size() != 1) return found;
      const bool only = boarded_ == 1 || use_ == StreamUse::kOnce || (!label.error.ok() && abandoned_.empty());
      return only ? attempts_.begin() : found;
    }

    void Break(const absl::Status& status) {
      const bool reached = status.ok() || warm() || stream_->ReachedServer();
      Riders attempts;
      bool beside = false;  // others were under way
      int boarded = 0;
      {
        std::lock_guard lock(mutex_);
        retired_ = true;
        unreached_ = !reached;
        boarded = boarded_;
        beside = attempts_.size() + abandoned_.size() > 1;
        attempts.swap(attempts_);
        backlogged_ = waiting_ = 0;
        loop_.Disarm(idle_timer_);
      }
      if (attempts.empty()) return;
      // As the server said it, without the story of the stream's own call.
      const CallInfo info = InfoOf(status);
      const absl::Status said = status.ok()
                                    ? detail::UnavailableError("the server ended the stream before it had answered")
                                : info.attempts.empty() || info.attempts.back().code != status.code()
                                    ? detail::MakeError(status.code(), status.message())
                                    : detail::SaidError(status.code(), info.message);
      // What was cancelled here was not ended by what another had sent.
      const bool shared = reached && boarded > 1 && info.reason != CallInfo::Reason::kCancelled;
      const absl::Status perhaps = detail::UnavailableError(
          detail::Cat("the stream that this request shared was ended, perhaps by another request: ",
                      detail::ToStd(absl::StatusCodeToString(said.code())), ": ", detail::ToStd(said.message())));
      for (const auto& [id, attempt] : attempts) {
        // Where answers are not marked, the end of the stream is that of its requests.
        const bool complete = attempt->answered ? unmarked_ : boarded == 1 && *known_ == Marks::kMissing;
        if (status.ok() && complete) {
          attempt->OnMessage({}, ReplyTag{.id = id, .last = true, .empty = true, .error = {}});
          continue;
        }
        const bool anothers = shared && beside && (attempt->answered || said.code() != absl::StatusCode::kUnavailable);
        attempt->set_broken(anothers ? std::vector<ErrorDetail>() : info.details, reached, shared,
                            /*server_works=*/status.code() != absl::StatusCode::kUnavailable);
        attempt->OnBroken(anothers ? perhaps : said);
      }
    }

    const std::shared_ptr<channel::Target> target_;
    const decltype(Speech::read_label) read_label_;
    Executor* const readers_;  // where it is called, if not where the loop is turned
    const std::shared_ptr<Known> known_;
    const StreamUse use_;
    Loop& loop_;
    Timer pump_timer_, idle_timer_;
    const detail::Ref<StreamCall> stream_;
    std::mutex mutex_;
    Riders attempts_;
    std::unordered_set<std::string> abandoned_;  // the server still works for them
    int boarded_ = 0;                            // attempts, from the beginning
    int backlogged_ = 0;                         // attempts whose reader should be waited for
    int waiting_ = 0;                            // and those that wait
    TimePoint idle_since_;
    std::atomic<bool> warm_{false};
    bool opened_ = false;
    bool retired_ = false;   // takes no new attempts
    bool unmarked_ = false;  // has brought answers that do not say whether more comes
    bool unreached_ = false;
    bool unsendable_ = false;  // has one that cannot be sent
    bool paused_ = false;
    bool pumping_ = false;
    bool pump_again_ = false;
    bool idle_armed_ = false;
  };

  // What is known of a target, for as long as the client has it.
  std::shared_ptr<Known> KnownOf(const std::shared_ptr<channel::Target>& target) {
    for (const auto& [place, known] : known_) {
      if (place == target) return known;
    }
    std::erase_if(known_, [](const auto& entry) { return entry.first.use_count() == 1; });
    return known_.emplace_back(target, std::make_shared<Known>(Marks::kUnknown)).second;
  }

  const std::shared_ptr<Engine> engine_;
  const std::string& path_;
  const Speech speech_;
  const bool once_;
  std::mutex mutex_;
  std::vector<detail::Ref<MuxStreamImpl>> lines_;  // that others may board
  std::vector<std::pair<std::shared_ptr<channel::Target>, std::shared_ptr<Known>>> known_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_STREAM_MUX_IMPL_H_
