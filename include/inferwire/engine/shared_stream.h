// SPDX-License-Identifier: Apache-2.0
//
// Bidirectional calls that carry the requests of many, one to a target, opened when they are needed and closed when
// they are not.
#ifndef INFERWIRE_ENGINE_SHARED_STREAM_H_
#define INFERWIRE_ENGINE_SHARED_STREAM_H_

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

#include "inferwire/channel/pool.h"
#include "inferwire/clock.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/ref.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/call.h"
#include "inferwire/engine/carrier.h"
#include "inferwire/engine/door.h"
#include "inferwire/engine/engine.h"
#include "inferwire/engine/loop.h"
#include "inferwire/engine/stream.h"
#include "inferwire/error_details.h"
#include "inferwire/policy/retry.h"
#include "inferwire/status.h"
#include "inferwire/wire/message.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// Carries requests on streams of their contract's, one to each target. Requests that are given up cannot be called
/// back one by one, so the stream that carries one takes no new requests, and is cancelled as soon as nobody waits for
/// anything on it: the server then stops working for nobody.
///
/// Servers that do not say which answer is the last are known by their first answer. The stream that brought it is
/// half-closed, so that its end is the end of its requests; from then on each request to that target has a stream to
/// itself, half-closed at once. So has a request that shared a stream which another may have ended. Safe from any
/// thread.
class SharedStream final : public Carrier {
 public:
  using Speech = engine::Speech;

  /// `path` lives as long as the process. `once`: what is sent must arrive on one stream, each with one answer, and
  /// when one is gone that had reached a server, nothing can be sent any more.
  SharedStream(std::shared_ptr<Engine> engine, const std::string& path, const Speech& speech, bool once = false)
      : engine_(std::move(engine)), path_(path), speech_(speech), once_(once) {}
  ~SharedStream() override {
    for (const auto& line : lines_) line->Close();
  }

  std::shared_ptr<channel::Target> OnlyTarget() override {
    if (!once_) return nullptr;
    std::lock_guard lock(mutex_);
    return lines_.empty() || lines_.front()->Unreached() ? nullptr : lines_.front()->target();
  }
  detail::Ref<Carriage> Board(std::shared_ptr<Rider> rider, const std::shared_ptr<channel::Target>& target,
                              const wire::Payload& request) override {
    wire::Payload message = speech_.with_id(request, rider->id());
    std::lock_guard lock(mutex_);
    if (once_) std::erase_if(lines_, [](const auto& line) { return line->Unreached(); });
    const std::shared_ptr<Known> known = KnownOf(target);
    const bool alone = !once_ && (rider->terms().alone || *known == Marks::kMissing ||
                                  (*known == Marks::kUnknown && !rider->terms().repeatable));
    if (!alone) {
      for (const auto& line : lines_) {
        if (!once_ && line->target() != target) continue;
        if (line->Board(rider, message, /*at_any_rate=*/once_)) return line;
      }
    }
    std::erase_if(lines_, [](const auto& line) { return line->Retired(); });
    auto line = detail::MakeRef<Line>(engine_, target, path_, speech_, known,
                                      once_   ? Line::Use::kOnce
                                      : alone ? Line::Use::kAlone
                                              : Line::Use::kShared);
    line->Board(std::move(rider), message, /*at_any_rate=*/true);
    if (!alone) lines_.push_back(line);
    return line;
  }

 private:
  // Whether a server's answers say if more comes.
  enum class Marks { kUnknown, kGiven, kMissing };
  using Known = std::atomic<Marks>;

  // One call, to one target; its riders try again, not it. What its stream brings is handed out by the thread that
  // turns the loop, which holds no lock meanwhile: the riders have their own. Theirs come before ours, and ours before
  // the stream's.
  class Line final : public Carriage, public TimerOwner {
   public:
    enum class Use {
      kShared,
      kAlone,  ///< one request, and the client's end is closed behind it
      kOnce,   ///< stays also while nothing is on it
    };

    Line(const std::shared_ptr<Engine>& engine, std::shared_ptr<channel::Target> target, const std::string& path,
         const Speech& speech, std::shared_ptr<Known> known, Use use)
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

    /// False, and nothing is done, where the stream takes no more; `at_any_rate` the rider is told instead.
    bool Board(std::shared_ptr<Rider> rider, wire::Payload& request, bool at_any_rate) {
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
        doomed_ = true;
        loop_.Arm(pump_timer_, TimePoint::min());
      }
      if (use_ == Use::kAlone) CloseBehind();
      hungry_ += rider->is_hungry;
      ++boarded_;
      const std::string& id = rider->id();
      riders_.insert_or_assign(id, std::move(rider));
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
    void Leave(Rider& rider) override {
      std::shared_ptr<Rider> gone;
      std::lock_guard lock(mutex_);
      const auto found = riders_.find(rider.id());
      if (found == riders_.end() || found->second.get() != &rider) return;  // its last message has come
      gone = Remove(found);
      abandoned_.insert(gone->id());
      retired_ = true;
      loop_.Arm(pump_timer_, TimePoint::min());
    }
    void SetFull(Rider& rider, bool full) override { Count(rider, rider.is_full, full, full_); }
    void SetHungry(Rider& rider, bool hungry) override { Count(rider, rider.is_hungry, hungry, hungry_); }

    void OnTimer(Timer& timer) override {
      if (&timer == &pump_timer_) return StartPump();
      std::lock_guard lock(mutex_);
      idle_armed_ = false;
      const bool silent = !riders_.empty() && !warm() && MayBeSilent();
      if (retired_ || !(riders_.empty() || silent)) return;
      if (Now() < idle_since_ + kIdle) return ArmIdle();
      if (silent) return CloseBehind();
      retired_ = true;
      EndIfDue();
    }

   private:
    using Riders = std::unordered_map<std::string, std::shared_ptr<Rider>>;
    // An open stream keeps a server from going away in peace; opening another costs little.
    static constexpr std::chrono::seconds kIdle{1};

    void Count(Rider& rider, bool& was, bool is, int& count) {
      std::lock_guard lock(mutex_);
      if (was == is) return;
      was = is;
      const auto found = riders_.find(rider.id());
      if (found == riders_.end() || found->second.get() != &rider) return;
      count += is ? 1 : -1;
      if (paused_ && !MayPause()) {
        paused_ = false;
        loop_.Arm(pump_timer_, TimePoint::min());
      }
    }
    // A reader that is slow holds the server back, and with it all others: but not those that wait.
    bool MayPause() const { return full_ > 0 && hungry_ == 0; }

    std::shared_ptr<Rider> Remove(Riders::iterator found) {
      std::shared_ptr<Rider> rider = std::move(found->second);
      riders_.erase(found);
      full_ -= rider->is_full;
      hungry_ -= rider->is_hungry;
      return rider;
    }
    // Nobody comes any more, and nothing is expected.
    void EndIfDue() {
      if (riders_.empty() && abandoned_.empty()) CloseBehind();
    }
    // The server ends the stream when it has answered.
    void CloseBehind() {
      retired_ = true;
      stream_->WritesDone().IgnoreError();  // it has ended then
    }
    // Of a server that says nothing, and of which nothing is known, it may be the half-close that it waits for.
    bool MayBeSilent() const { return use_ == Use::kShared && *known_ == Marks::kUnknown; }
    void Learn(bool marked) {
      if (marked) {
        *known_ = Marks::kGiven;
      } else if (use_ != Use::kOnce && !std::exchange(unmarked_, true)) {
        *known_ = Marks::kMissing;
        CloseBehind();
      }
    }
    void ArmIdle() {
      if (!std::exchange(idle_armed_, true)) loop_.Arm(idle_timer_, idle_since_ + kIdle);
    }

    void StartPump() {
      if (readers_ == nullptr) return Pump();
      readers_->Run([self = detail::Ref<Line>(this)] {
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
          cancel = doomed_ || (riders_.empty() && !abandoned_.empty());
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
            if (stream_->OnReadable([self = detail::Ref<Line>(this)] { self->StartPump(); }, /*in_place=*/true)) return;
            break;
          case StreamCall::ReadState::kEnded:
            return Break(stream_->status());
        }
      }
    }

    void Route(wire::Reply message) {
      absl::StatusOr<Label> label = read_label_(message);
      warm_.store(true, std::memory_order_relaxed);
      if (!label.ok()) return stream_->Fail(label.status());
      std::shared_ptr<Rider> rider;
      bool anyones = false;
      {
        std::lock_guard lock(mutex_);
        if (label->error.ok()) Learn(label->marked);
        const auto found = Find(*label);
        if (found != riders_.end()) {
          found->second->answered = found->second->answered || !label->empty;
          // Where each has one answer, that is it.
          label->last = label->last || (use_ == Use::kOnce && !label->marked);
          rider = label->last ? Remove(found) : found->second;
        } else if (label->id.empty() && !riders_.empty()) {
          anyones = true;
        } else if (label->last) {
          abandoned_.erase(label->id);
        } else {  // the server goes on behind an error, or an answer that was the last
          abandoned_.insert(label->id);
          retired_ = true;
        }
        if (riders_.empty() && abandoned_.empty()) {
          if (retired_) {
            EndIfDue();
          } else if (use_ != Use::kOnce) {
            idle_since_ = Now();
            ArmIdle();
          }
        }
      }
      if (rider != nullptr) return rider->OnMessage(std::move(message), *label);
      if (!anyones) return;
      stream_->Fail(label->error.ok()
                        ? detail::InternalError("the server's answers do not say which request they are to")
                        : label->error);
    }
    // Without an id it is an answer to the only one there was.
    Riders::iterator Find(const Label& label) {
      const auto found = riders_.find(label.id);
      if (found != riders_.end() || !label.id.empty() || riders_.size() != 1) return found;
      const bool only = boarded_ == 1 || use_ == Use::kOnce || (!label.error.ok() && abandoned_.empty());
      return only ? riders_.begin() : found;
    }

    void Break(const absl::Status& status) {
      const bool reached = status.ok() || warm() || stream_->ReachedServer();
      Riders riders;
      bool beside = false;  // others were under way
      int boarded = 0;
      {
        std::lock_guard lock(mutex_);
        retired_ = true;
        unreached_ = !reached;
        boarded = boarded_;
        beside = riders_.size() + abandoned_.size() > 1;
        riders.swap(riders_);
        full_ = hungry_ = 0;
        loop_.Disarm(idle_timer_);
      }
      if (riders.empty()) return;
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
      for (const auto& [id, rider] : riders) {
        // Where answers are not marked, the end of the stream is that of its requests.
        const bool complete = rider->answered ? unmarked_ : boarded == 1 && *known_ == Marks::kMissing;
        if (status.ok() && complete) {
          rider->OnMessage({}, Label{.id = id, .last = true, .empty = true, .error = {}});
          continue;
        }
        const bool anothers = shared && beside && (rider->answered || said.code() != absl::StatusCode::kUnavailable);
        rider->set_broken(anothers ? std::vector<ErrorDetail>() : info.details, reached, shared,
                          /*server_works=*/status.code() != absl::StatusCode::kUnavailable);
        rider->OnBroken(anothers ? perhaps : said);
      }
    }

    const std::shared_ptr<channel::Target> target_;
    const decltype(Speech::read_label) read_label_;
    Executor* const readers_;  // where it is called, if not where the loop is turned
    const std::shared_ptr<Known> known_;
    const Use use_;
    Loop& loop_;
    Timer pump_timer_, idle_timer_;
    const detail::Ref<StreamCall> stream_;
    std::mutex mutex_;
    Riders riders_;
    std::unordered_set<std::string> abandoned_;  // the server still works for them
    int boarded_ = 0;                            // riders, from the beginning
    int full_ = 0;                               // riders whose reader should be waited for
    int hungry_ = 0;                             // and those that wait
    TimePoint idle_since_;
    std::atomic<bool> warm_{false};
    bool opened_ = false;
    bool retired_ = false;   // takes no new riders
    bool unmarked_ = false;  // has brought answers that do not say whether more comes
    bool unreached_ = false;
    bool doomed_ = false;  // has one that cannot be sent
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
  std::vector<detail::Ref<Line>> lines_;  // that others may board
  std::vector<std::pair<std::shared_ptr<channel::Target>, std::shared_ptr<Known>>> known_;
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_SHARED_STREAM_H_
